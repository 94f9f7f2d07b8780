"""none: an instance descends as soon as nothing is left to do."""

from __future__ import annotations

import msgspec

from glowplug.policy.prewarm import KeepView


class NoKeepWarm(msgspec.Struct):
    def keep_until_s(self, view: KeepView, now_s: float) -> float:
        return now_s
