"""A device on paper: so many bytes, reached at so many bytes per second, on the caller's clock.

For machines without an accelerator: the CPU computes, and copies take as long as the profile says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec

from glowplug.loader.arena import NO_ARENA
from glowplug.loader.clock import Clock, RealClock
from glowplug.loader.devices.base import Ledger, Placement, Reservation, T, require_fit


class Profile(msgspec.Struct, frozen=True):
    """`latency_s` is paid once per copy, `copy_bytes_per_s` by its bytes."""

    capacity_bytes: int
    copy_bytes_per_s: float
    latency_s: float = 0.0

    def copy_s(self, nbytes: int) -> float:
        return self.latency_s + nbytes / self.copy_bytes_per_s


PCIE_GEN4_16GB = Profile(capacity_bytes=16 * 2**30, copy_bytes_per_s=24e9, latency_s=10e-6)
"""A middling data-centre card: the rate from pinned memory that 16 lanes of PCIe 4.0 sustain in practice."""


class _Copy:
    def __init__(self, memory: Any, ready_s: float, clock: Clock) -> None:
        self.memory = memory
        self.ready_s = ready_s
        self._clock = clock

    def done(self) -> bool:
        return self._clock.now_s() >= self.ready_s

    def wait(self) -> None:
        self._clock.wait_until(self.ready_s)

    guard = wait


class VirtualDevice:
    """Copies run one after another, in the order of `place`, as on a card with one copy engine each way."""

    def __init__(self, profile: Profile, clock: Clock, name: str = "virtual:0") -> None:
        self.name = name
        self.profile = profile
        self._clock = clock
        self._ledger = Ledger(name, profile.capacity_bytes)
        self._lock = threading.Lock()
        self._engine_free_s = clock.now_s()

    @property
    def capacity_bytes(self) -> int:
        return self._ledger.capacity_bytes

    @property
    def free_bytes(self) -> int:
        return self._ledger.free_bytes

    def reserve(self, nbytes: int) -> Reservation:
        return self._ledger.reserve(nbytes)

    def place(self, weights: memoryview, reservation: Reservation) -> Placement:
        self._ledger.check(reservation, weights.nbytes)
        return self._copied(weights, weights.nbytes)

    def allocate(self, reservation: Reservation) -> memoryview:
        self._ledger.check(reservation, reservation.nbytes)
        return NO_ARENA.lend(reservation.nbytes)

    def staging(self, nbytes: int) -> memoryview:
        return memoryview(bytearray(nbytes))

    def copy(self, part: memoryview, memory: memoryview, offset: int) -> Placement:
        require_fit(part, memory.nbytes, offset)
        memory[offset : offset + part.nbytes] = part
        return self._copied(memory, part.nbytes)

    def _copied(self, memory: memoryview, nbytes: int) -> _Copy:
        """The copy takes its turn on the one engine."""
        with self._lock:
            start_s = max(self._clock.now_s(), self._engine_free_s)
            self._engine_free_s = start_s + self.profile.copy_s(nbytes)
            return _Copy(memory, self._engine_free_s, self._clock)

    def run(self, work: Callable[[], T], after: Placement | None = None) -> T:
        if after is not None:
            after.wait()
        return work()

    def release(self, reservation: Reservation) -> None:
        self._ledger.release(reservation)


def open_virtual(number: int = 0) -> VirtualDevice:
    return VirtualDevice(PCIE_GEN4_16GB, RealClock(), f"virtual:{number}")
