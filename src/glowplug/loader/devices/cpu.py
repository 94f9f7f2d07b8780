"""This machine's memory: weights are used where they are mapped, so placing them moves nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from glowplug.loader.devices.base import Placed, Placement, Reservation, T, not_wanted, require_fit
from glowplug.loader.devices.counted import InHostMemory


class CpuDevice(InHostMemory):
    def __init__(self, capacity_bytes: int) -> None:
        super().__init__("cpu", capacity_bytes)

    @property
    def context_bytes(self) -> int:
        return 0

    def open_context(self) -> None:
        return

    def warm(self, records: Sequence[bytes] = (), wanted: Callable[[], bool] = not_wanted) -> None:
        return

    def place(self, weights: memoryview, reservation: Reservation) -> Placement:
        self._ledger.check(reservation, weights.nbytes)
        return Placed(weights)

    def copy(self, part: memoryview, memory: memoryview, offset: int) -> Placement:
        require_fit(part, memory.nbytes, offset)
        memory[offset : offset + part.nbytes] = part
        return Placed(memory)

    def run(self, work: Callable[[], T], after: Placement | None = None) -> T:
        if after is not None:
            after.wait()
        return work()


def open_cpu(number: int = 0) -> CpuDevice:
    """A device as large as this machine's memory. Raises RuntimeError for any number but 0."""
    if number:
        raise RuntimeError(f"there is one CPU device, cpu:0; cpu:{number} does not exist")
    return CpuDevice(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
