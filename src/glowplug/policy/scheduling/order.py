"""Who comes first: as they came or, under overload, in fair turns."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from glowplug.core.ids import FunctionId
from glowplug.policy.scheduling import FleetView
from glowplug.policy.scheduling.turns import is_anyone_greedy, is_overloaded

_LOOK_AGAIN_S = 1.0
_PATIENCE_S = 20.0
"""Nobody waits longer for others to have their turns, unless one of all asks for more than all others."""
_FIRST = -1.0
"""Before any start tag."""

Turn = tuple[int, float, float, float, FunctionId]
"""Sorts functions, those first that come first."""


class Shares(msgspec.Struct):
    """Start tags of fair queueing (Goyal et al., SIGCOMM 1996): how far each has been served, in seconds, and
    how far all have. Nobody can claim the time in which it had nothing."""

    served_s: dict[str, float] = {}
    virtual_s: float = 0.0

    def start_s(self, key: str) -> float:
        served_s = self.served_s.get(key, 0.0)
        return served_s if served_s > self.virtual_s else self.virtual_s

    def serve(self, key: str, run_s: float) -> None:
        self.virtual_s = start_s = self.start_s(key)
        self.served_s[key] = start_s + run_s

    def is_ahead(self, key: str) -> bool:
        """Whether it has been served more than others."""
        return self.served_s.get(key, 0.0) > self.virtual_s

    def clean(self) -> None:
        """Drops functions that are not ahead: they count as newcomers anyway."""
        self.served_s = {key: at_s for key, at_s in self.served_s.items() if at_s > self.virtual_s}


class Order(msgspec.Struct):
    """While `overloaded`, namespaces take turns, and inside each namespace its functions. So a function
    that asks for more than its share makes nobody else wait. Requests that came before `old_s` go by age,
    unless somebody is `greedy` and causes all of the waiting. `look_s` is when this is decided again."""

    overloaded: bool = False
    greedy: bool = False
    look_s: float = 0.0
    old_s: float = 0.0
    functions: Shares = msgspec.field(default_factory=Shares)
    namespaces: Shares = msgspec.field(default_factory=Shares)

    def look(self, view: FleetView, functions: Iterable[FunctionId], now_s: float) -> None:
        """`functions` are those that run."""
        if now_s >= self.look_s:
            self.look_s = now_s + _LOOK_AGAIN_S
            self.overloaded = is_overloaded(view, functions)
            self.functions.clean()
            self.namespaces.clean()
            self.greedy = self.overloaded and is_anyone_greedy(view, functions)
        self.old_s = now_s - _PATIENCE_S

    def turn(self, view: FleetView, function: FunctionId) -> Turn:
        """Of a function that waits."""
        head = view.first(function)
        if not self.overloaded:
            return -head.rank, 0.0, 0.0, head.arrived_s, function
        if head.arrived_s <= self.old_s and not self.greedy:
            return -head.rank, _FIRST, _FIRST, head.arrived_s, function
        start_s = self.namespaces.start_s(view.namespace(function))
        return -head.rank, start_s, self.functions.start_s(function), head.arrived_s, function

    def serve(self, view: FleetView, function: FunctionId, run_s: float) -> None:
        self.functions.serve(function, run_s)
        self.namespaces.serve(view.namespace(function), run_s)
