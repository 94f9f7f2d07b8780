"""none: an instance descends as soon as nothing is left to do."""

from __future__ import annotations

from math import inf

import msgspec

from glowplug.core.ids import FunctionId
from glowplug.policy.prewarm import KeepView


class NoKeepWarm(msgspec.Struct):
    takes_over: bool = False

    def arrived(self, function: FunctionId, now_s: float) -> float:
        return inf

    def keep_until_s(self, view: KeepView, now_s: float) -> float:
        return now_s

    def forget(self, function: FunctionId) -> None:
        return
