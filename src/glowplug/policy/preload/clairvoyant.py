"""clairvoyant: ladder where each function's next call is known. An upper bound, for simulations: they tell it
the first calls, and give its predictors the trace (sim/oracle.py)."""

from __future__ import annotations

from heapq import heappush
from math import inf

from glowplug.core.ids import FunctionId
from glowplug.policy.preload import PreloadView
from glowplug.policy.preload.ladder import Ladder


class Clairvoyant(Ladder):
    def expect(self, function: FunctionId, look_s: float) -> None:
        """A function that nobody has called yet is to be looked at, before its first call."""
        turn = self.rounds.get(function) or self._begin_round(function)
        heappush(self.due, (look_s, function, turn, 0.0, 0.0))

    def introduced(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        """Whoever is called at all is expected."""

    def arrived(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        turn = self._begin_round(function)
        next_s = view.quantiles(function, 0.0)(0.5)
        if next_s < inf:
            look_s = now_s + next_s - view.horizon_s / 2 - view.load_s(function)
            heappush(self.due, (look_s, function, turn, 0.0, 0.0))
        if function in self.raised:
            self._look_later(view, function, now_s)
