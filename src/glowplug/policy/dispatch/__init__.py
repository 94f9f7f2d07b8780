"""Where a request goes: onto an instance, onto a new one, or back into its queue.

The view is live and read-only: properties over the controller's indexes, each of constant cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from glowplug.core.ids import InstanceId
from glowplug.core.rng import Rng


class Choice(msgspec.Struct, frozen=True):
    """`run` on `instance`, `climb` a new instance, or `wait` for one of those that serve."""

    action: Literal["run", "climb", "wait"]
    instance: InstanceId | None = None


CLIMB = Choice("climb")
WAIT = Choice("wait")


class DispatchView(Protocol):
    """One function as a dispatch policy sees it. Seconds are from now."""

    @property
    def idle(self) -> InstanceId | None:
        """An instance that would run a request at once: the one used last."""

    @property
    def spare(self) -> tuple[InstanceId, float] | None:
        """An instance in use that can take one more request into its line, and the seconds until that
        would begin."""

    @property
    def climbing(self) -> InstanceId | None:
        """An instance under way to which no request is bound yet."""

    @property
    def climbing_left_s(self) -> float:
        """Until `climbing` arrives."""

    @property
    def free_in_s(self) -> float:
        """Until the first of the instances in use has finished all its requests; infinite without any."""

    @property
    def serving(self) -> int:
        """Requests that can run at once on the instances that serve this function now or soon."""

    @property
    def run_s(self) -> float: ...

    @property
    def can_grow(self) -> bool:
        """Whether the function may have one more instance."""

    @property
    def grow_s(self) -> float:
        """Until a new instance would arrive, from the best step that stands."""


class DispatchPolicy(Protocol):
    def decide(self, view: DispatchView, ahead: int, now_s: float, rng: Callable[[], Rng]) -> Choice:
        """For a request with `ahead` others of its function before it."""
