"""What scheduling on devices came to, in plain counts, whichever policy decided."""

from __future__ import annotations

import msgspec

from glowplug.core.ids import FunctionId


class Tally(msgspec.Struct):
    """Since the controller began. Counted where decisions are carried out, by the words of Zhao et al. (IPDPS
    2023): a request is a miss when it is bound to a device where its model neither lies nor comes to, a false
    miss when another device has it.

    Loads are counted as they begin, those that no request asked for among them, so `loads / requests`
    compares a policy that loads ahead with one that binds first. `copies` are loads of what another device
    had.
    """

    came: int = 0
    found: int = 0
    """Requests as they come, and those whose model lay on a device then, or was on its way to one."""
    requests: int = 0
    misses: int = 0
    false_misses: int = 0
    loads: int = 0
    copies: int = 0
    from_memory: int = 0
    """Loads of what lay in the memory of their node."""
    evictions: int = 0
    compute_s: float = 0.0
    """Of all devices together."""
    device_s: dict[FunctionId, float] = {}
    """By function the seconds that its model lay on a device or was on its way there, over all devices."""
    counted_to_s: dict[FunctionId, float] = {}

    @property
    def hits(self) -> int:
        return self.requests - self.misses

    def arrived(self, *, found: bool) -> None:
        self.came += 1
        self.found += found

    def bound(self, requests: int, *, here: bool, elsewhere: bool) -> None:
        self.requests += requests
        if not here:
            # Whoever comes along in the batch finds what the first one brought.
            self.misses += 1
            self.false_misses += elsewhere

    def loaded(self, *, elsewhere: bool, from_memory: bool) -> None:
        self.loads += 1
        self.from_memory += from_memory
        self.copies += elsewhere

    def placed(self, function: FunctionId, before: int, now_s: float) -> None:
        """So many devices had the model or waited for it up to now."""
        if before:
            since_s = self.counted_to_s[function]
            self.device_s[function] = self.device_s.get(function, 0.0) + before * (now_s - since_s)
        self.counted_to_s[function] = now_s

    def copies_on_average(self, function: FunctionId, places: int, from_s: float, to_s: float) -> float:
        """Devices that had the function's model, over a time that began before there was any; `places` have
        it at `to_s`."""
        open_s = places * (to_s - self.counted_to_s.get(function, to_s))
        return (self.device_s.get(function, 0.0) + open_s) / (to_s - from_s)

    def forget(self, function: FunctionId) -> None:
        self.device_s.pop(function, None)
        self.counted_to_s.pop(function, None)
