"""Policies that ask the real ones, and report what was asked and answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from glowplug.core.ids import FunctionId
from glowplug.core.rng import Rng
from glowplug.policy.dispatch import Choice, DispatchPolicy, DispatchView
from glowplug.policy.scheduling import Decision, FleetView, SchedulingPolicy


class Listener(Protocol):
    def asked(self) -> None:
        """The scheduling policy is asked."""

    def scheduled(self, decision: Decision, view: FleetView) -> None:
        """Called before it is carried out."""

    def looked(self, view: FleetView) -> None:
        """It was asked, and has decided all that it decides now."""

    def dispatched(self, view: DispatchView, ahead: int, choice: Choice) -> None:
        """Called before it is carried out."""


class ToldScheduling:
    def __init__(self, inner: SchedulingPolicy, listener: Listener) -> None:
        self._inner = inner
        self._listener = listener

    def decide(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        self._listener.asked()
        for decision in self._inner.decide(view, now_s):
            self._listener.scheduled(decision, view)
            yield decision
        self._listener.looked(view)

    def forget(self, function: FunctionId) -> None:
        self._inner.forget(function)


class ToldDispatch:
    def __init__(self, inner: DispatchPolicy, listener: Listener) -> None:
        self._inner = inner
        self._listener = listener

    def decide(self, view: DispatchView, ahead: int, now_s: float, rng: Callable[[], Rng]) -> Choice:
        choice = self._inner.decide(view, ahead, now_s, rng)
        self._listener.dispatched(view, ahead, choice)
        return choice
