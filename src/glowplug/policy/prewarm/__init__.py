"""How long an idle instance stays parked, and when one is started before a request asks for it."""

from __future__ import annotations

from typing import Protocol

from glowplug.core.ids import FunctionId


class KeepView(Protocol):
    """An idle instance as a pre-warm policy sees it."""

    @property
    def function(self) -> FunctionId: ...

    @property
    def used_s(self) -> float:
        """When it was last used, or parked."""

    @property
    def keep_warm_s(self) -> float:
        """What its function declares."""


class PrewarmPolicy(Protocol):
    @property
    def takes_over(self) -> bool:
        """Whether a function that has no instance may have another's idle sandbox, emptied."""

    def arrived(self, function: FunctionId, now_s: float) -> float:
        """A request came. Returns when an instance is to be there again, if there is none by then; infinite
        for never."""

    def keep_until_s(self, view: KeepView, now_s: float) -> float:
        """The instance descends when this time comes and it was not used again; at once if it has passed."""

    def forget(self, function: FunctionId) -> None: ...
