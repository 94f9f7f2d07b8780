"""This machine's memory: weights are used where they are mapped, so placing them moves nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from glowplug.loader.arena import NO_ARENA
from glowplug.loader.devices.base import Ledger, Placed, Placement, Reservation, T, not_wanted, require_fit


class CpuDevice:
    name = "cpu"

    def __init__(self, capacity_bytes: int) -> None:
        self._ledger = Ledger(self.name, capacity_bytes)

    @property
    def capacity_bytes(self) -> int:
        return self._ledger.capacity_bytes

    @property
    def free_bytes(self) -> int:
        return self._ledger.free_bytes

    @property
    def context_bytes(self) -> int:
        return 0

    def open_context(self) -> None:
        return

    def warm(self, records: Sequence[bytes] = (), wanted: Callable[[], bool] = not_wanted) -> None:
        return

    def reserve(self, nbytes: int) -> Reservation:
        return self._ledger.reserve(nbytes)

    def place(self, weights: memoryview, reservation: Reservation) -> Placement:
        self._ledger.check(reservation, weights.nbytes)
        return Placed(weights)

    def allocate(self, reservation: Reservation) -> memoryview:
        self._ledger.check(reservation, reservation.nbytes)
        return NO_ARENA.lend(reservation.nbytes)

    def staging(self, nbytes: int) -> memoryview:
        return memoryview(bytearray(nbytes))

    def copy(self, part: memoryview, memory: memoryview, offset: int) -> Placement:
        require_fit(part, memory.nbytes, offset)
        memory[offset : offset + part.nbytes] = part
        return Placed(memory)

    def pin(self, address: int, nbytes: int) -> bool:
        return False

    def unpin(self, address: int) -> None:
        return

    def run(self, work: Callable[[], T], after: Placement | None = None) -> T:
        if after is not None:
            after.wait()
        return work()

    def release(self, reservation: Reservation) -> None:
        self._ledger.release(reservation)


def open_cpu(number: int = 0) -> CpuDevice:
    """A device as large as this machine's memory. Raises RuntimeError for any number but 0."""
    if number:
        raise RuntimeError(f"there is one CPU device, cpu:0; cpu:{number} does not exist")
    return CpuDevice(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
