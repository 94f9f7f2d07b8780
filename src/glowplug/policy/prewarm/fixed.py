"""fixed: an instance stays parked for its function's `keep_warm_s` after it was last used."""

from __future__ import annotations

import msgspec

from glowplug.policy.prewarm import KeepView


class Fixed(msgspec.Struct):
    def keep_until_s(self, view: KeepView, now_s: float) -> float:
        return view.used_s + view.keep_warm_s
