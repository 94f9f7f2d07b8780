"""fixed: an instance stays parked for its function's `keep_warm_s` after it was last used."""

from __future__ import annotations

from math import inf

import msgspec

from glowplug.core.ids import FunctionId
from glowplug.policy.prewarm import KeepView


class Fixed(msgspec.Struct):
    takes_over: bool = False

    def arrived(self, function: FunctionId, now_s: float) -> float:
        return inf

    def keep_until_s(self, view: KeepView, now_s: float) -> float:
        return view.used_s + view.keep_warm_s

    def forget(self, function: FunctionId) -> None:
        return
