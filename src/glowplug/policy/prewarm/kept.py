"""kept: an instance stays parked until memory is needed for what is worth more; eviction alone decides."""

from __future__ import annotations

from math import inf

import msgspec

from glowplug.core.ids import FunctionId
from glowplug.policy.prewarm import KeepView


class Kept(msgspec.Struct):
    takes_over: bool = False

    def arrived(self, function: FunctionId, now_s: float) -> float:
        return inf

    def keep_until_s(self, view: KeepView, now_s: float) -> float:
        return inf

    def forget(self, function: FunctionId) -> None:
        return
