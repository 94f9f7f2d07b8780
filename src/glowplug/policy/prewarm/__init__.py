"""How long an idle instance stays parked."""

from __future__ import annotations

from typing import Protocol


class KeepView(Protocol):
    """An idle instance as a pre-warm policy sees it."""

    @property
    def used_s(self) -> float:
        """When it was last used, or parked."""

    @property
    def keep_warm_s(self) -> float:
        """What its function declares."""


class PrewarmPolicy(Protocol):
    def keep_until_s(self, view: KeepView, now_s: float) -> float:
        """The instance descends when this time comes and it was not used again; at once if it has passed."""
