"""A device on paper: so many bytes, reached at so many bytes per second, on the caller's clock.

For machines without an accelerator: the CPU computes, and copies take as long as the profile says.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from glowplug.loader.clock import Clock, RealClock
from glowplug.loader.devices.base import Placement, Reservation, T, not_wanted, require_fit
from glowplug.loader.devices.counted import InHostMemory
from glowplug.loader.errors import DeviceFailed


class Profile(msgspec.Struct, frozen=True):
    """`latency_s` is paid once per copy, `copy_bytes_per_s` by its bytes; no run takes less than `run_s`. A
    process needs `context_s` before its first use of the device, and takes `context_bytes` of it."""

    capacity_bytes: int
    copy_bytes_per_s: float
    latency_s: float = 0.0
    run_s: float = 0.0
    context_bytes: int = 0
    context_s: float = 0.0

    def copy_s(self, nbytes: int) -> float:
        return self.latency_s + nbytes / self.copy_bytes_per_s


PCIE_GEN4_16GB = Profile(capacity_bytes=16 * 2**30, copy_bytes_per_s=24e9, latency_s=10e-6)
"""A middling data-centre card: the rate from pinned memory that 16 lanes of PCIe 4.0 sustain in practice."""


class VirtualCopy:
    """`took_s` is the copy's own time, `ready_s` when it is over: later by what the copies before it took.
    One that is to fail raises DeviceFailed in `wait`, when it would have been over.

    The bytes come when somebody has waited for this copy or for a later one, or has seen it done, and not by
    themselves: who forgets to wait computes with what lay there before, here always and on a card sometimes.
    """

    def __init__(
        self,
        memory: Any,
        took_s: float,
        ready_s: float,
        clock: Clock,
        fault: str = "",
        land: Callable[[], object] = lambda: None,
    ) -> None:
        self.memory = memory
        self.took_s = took_s
        self.ready_s = ready_s
        self._clock = clock
        self._fault = fault
        self._land = land

    def done(self) -> bool:
        if self._clock.now_s() < self.ready_s:
            return False
        self._land()
        return True

    def wait(self) -> None:
        self._clock.wait_until(self.ready_s)
        if self._fault:
            raise DeviceFailed(self._fault)
        self._land()

    guard = wait


class VirtualDevice(InHostMemory):
    """Copies run one after another, in the order of `place`, as on a card with one copy engine each way.

    `pace` says how many times longer than by the profile all takes that begins now: a slow card, or a sick
    one.
    """

    def __init__(
        self,
        profile: Profile,
        clock: Clock,
        name: str = "virtual:0",
        pace: Callable[[], float] = lambda: 1.0,
    ) -> None:
        super().__init__(name, profile.capacity_bytes)
        self.profile = profile
        self._clock = clock
        self._pace = pace
        self._lock = threading.Lock()
        self._under_way: deque[tuple[int, memoryview, memoryview]] = deque()
        """(number, from, to) of copies whose bytes have not come, in their order."""
        self._copies = 0
        self._engine_free_s = clock.now_s()
        self._failing = 0
        self._has_context = False

    @property
    def context_bytes(self) -> int:
        return self.profile.context_bytes

    def open_context(self) -> None:
        if not self._has_context:
            self._clock.wait_until(self._clock.now_s() + self.profile.context_s * self._pace())
            self._has_context = True

    def warm(self, records: Sequence[bytes] = (), wanted: Callable[[], bool] = not_wanted) -> None:
        self.open_context()

    def fail_copies(self, count: int) -> None:
        """The next so many copies fail; 0 ends it."""
        self._failing = count

    def place(self, weights: memoryview, reservation: Reservation) -> VirtualCopy:
        self._ledger.check(reservation, weights.nbytes)
        return self._copied(weights, weights, weights)

    def copy(self, part: memoryview, memory: memoryview, offset: int) -> VirtualCopy:
        require_fit(part, memory.nbytes, offset)
        return self._copied(memory, part, memory[offset : offset + part.nbytes])

    def _copied(self, memory: memoryview, part: memoryview, target: memoryview) -> VirtualCopy:
        """The copy takes its turn on the one engine. Weights that are placed stay where they are."""
        nbytes = part.nbytes
        took_s = self.profile.copy_s(nbytes) * self._pace()
        with self._lock:
            self._copies += 1
            land = partial(self._land, self._copies)
            if target is not part:
                self._under_way.append((self._copies, part, target))
            self._engine_free_s = max(self._clock.now_s(), self._engine_free_s) + took_s
            fault = f"{self.name} failed to copy {nbytes} bytes, as it was told" if self._failing else ""
            self._failing = max(0, self._failing - 1)
            return VirtualCopy(memory, took_s, self._engine_free_s, self._clock, fault, land)

    def _land(self, number: int) -> None:
        """The bytes of the copies up to this one are there."""
        with self._lock:
            while self._under_way and self._under_way[0][0] <= number:
                _, part, target = self._under_way.popleft()
                target[:] = part

    def run(self, work: Callable[[], T], after: Placement | None = None) -> T:
        """Takes as long as `work`, or as the profile says if that is longer; all of it by the pace."""
        if after is not None:
            after.wait()
        start_s = self._clock.now_s()
        result = work()
        took_s = max(self._clock.now_s() - start_s, self.profile.run_s) * self._pace()
        self._clock.wait_until(start_s + took_s)
        return result


def open_virtual(number: int = 0) -> VirtualDevice:
    return VirtualDevice(PCIE_GEN4_16GB, RealClock(), f"virtual:{number}")
