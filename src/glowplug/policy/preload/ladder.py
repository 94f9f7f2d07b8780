"""ladder: climb where the chance of a request, times the seconds it is spared, is worth most per byte, just
in time.

Each function is looked at when its next request comes into sight: when the chance that it comes within about
the time of a load begins to count. What could be climbed then is worth P(needed) x (seconds now - seconds
after) / bytes; it takes free memory, or that of what is worth less at this moment (eviction policy `ladder`).
Nothing is ever unloaded because a time is over: memory that nobody needs costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from math import inf, log

import msgspec

from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.core.ladder import Step
from glowplug.policy.preload import NEAR_S, Decision, Guest, PreloadView, Raise, SandboxView

_SHARES = (0.02, 0.1, 0.3, 0.6)
"""Of the distribution of the next arrival: at each of these a function is looked at, a load before it."""
_LEAST_CHANCE = 1e-3
_STALE_ALLOWED = 256
_LEARNED_ANEW = 1.25
"""A function's distribution is looked at again when it has been called so many times as often."""


class Ladder(msgspec.Struct):
    """`due` is a heap of (when, function, round); a function's entries of earlier rounds are void. `offsets`
    has by function the round they were worked out in, and when to look after an arrival."""

    foresees: bool = True
    due: list[tuple[float, FunctionId, int]] = []
    rounds: dict[FunctionId, int] = {}
    offsets: dict[FunctionId, tuple[int, list[float]]] = {}

    def arrived(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        turn = self.rounds[function] = self.rounds.get(function, 0) + 1
        known = self.offsets.get(function)
        if known is None or turn > known[0] * _LEARNED_ANEW:
            known = self.offsets[function] = turn, _offsets_s(view, function)
        for after_s in known[1]:
            heappush(self.due, (now_s + after_s, function, turn))
        if len(self.due) > _STALE_ALLOWED + 8 * len(self.rounds):
            self.due = [entry for entry in self.due if self.rounds.get(entry[1]) == entry[2]]
            heapify(self.due)

    def next_s(self) -> float:
        while self.due and self.rounds.get(self.due[0][1]) != self.due[0][2]:
            heappop(self.due)
        return self.due[0][0] if self.due else inf

    def decide(self, view: PreloadView, now_s: float) -> Iterator[Decision]:
        while self.next_s() <= now_s:
            _, function, _ = heappop(self.due)
            decision = self._look(view, function, now_s) if view.may_load(function) else None
            if decision is not None:
                yield decision

    def invoked(self, view: PreloadView, host: SandboxView, now_s: float) -> Iterable[InstanceId]:
        """Only as many guests as the owner needs the room of; and it has what it needs."""
        return ()

    def forget(self, function: FunctionId) -> None:
        self.rounds.pop(function, None)
        self.offsets.pop(function, None)

    def _look(self, view: PreloadView, function: FunctionId, now_s: float) -> Decision | None:
        waits_s = view.waits_s(function)
        chance = view.needed(function, 0.0, NEAR_S + view.load_s(function))
        if waits_s <= 0.0 or chance < _LEAST_CHANCE:
            return None
        guest_bytes = view.guest_bytes(function)
        best: Decision | None = None
        best_worth = -inf
        for node in view.homes(function):
            for sandbox in view.sandboxes(node):
                if sandbox.id is not None and sandbox.is_idle and sandbox.room_bytes >= guest_bytes:
                    return Guest(function, node, sandbox.id)
            for step, need_bytes, after_s in view.steps_up(function, node):
                worth = log(max(chance * (waits_s - after_s), 1e-12) / max(1, need_bytes))
                if need_bytes <= view.room_bytes(node):
                    worth += 1.0
                if worth > best_worth and (step >= Step.PARKED or after_s < waits_s):
                    best = Raise(function, NodeId(node), step, worth, now_s + NEAR_S)
                    best_worth = worth
        return best


def _offsets_s(view: PreloadView, function: FunctionId) -> list[float]:
    """Seconds after an arrival when the next may come into sight; nothing for what comes all the time."""
    ahead_s = NEAR_S / 2 + view.load_s(function)
    found: list[float] = []
    for share in _SHARES:
        after_s = view.quantile_s(function, share) - ahead_s
        if after_s < inf and after_s > (found[-1] if found else 0.0) + NEAR_S / 2:
            found.append(after_s)
    return found
