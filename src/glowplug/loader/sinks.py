"""Where fetched bytes go: memory that tensors live in, a file's mapping, or a device, by way of a small ring
or straight from the mapping.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

from glowplug.loader.arbiter import Range
from glowplug.loader.devices.base import Device, Placement
from glowplug.loader.devices.pinning import PinnedSource
from glowplug.loader.errors import LoaderError

READ_BYTES = 4 * 2**20


class Sink(Protocol):
    """Safe to use from several threads. `memory` is what tensors live in: a memoryview, or a flat uint8
    tensor on a device; None for weights of no bytes."""

    memory: Any
    read_bytes: int
    """What is best read at once."""

    def room(self, nbytes: int) -> int:
        """A place for so many bytes; may wait for one. Every place is given back by `put` or `give_up`."""

    def view(self, place: int, one: Range) -> memoryview:
        """The writable memory of that place, for this range."""

    def put(self, place: int, one: Range) -> None:
        """The range's bytes are in its place, and right."""

    def give_up(self, place: int) -> None:
        """Nothing was put there."""

    def guard(self, unit: int) -> None:
        """What this thread computes from now on sees the unit, all of whose ranges were put. Any thread, any
        number of times."""

    def finish(self) -> None:
        """Nothing is put any more: called once, in an I/O thread, whether the load went well or not. Returns
        when all that was put is in `memory`: no `guard` is needed after it. Raises DeviceFailed."""


class HostSink:
    """Bytes are read to where tensors use them: nothing is left to do."""

    read_bytes = READ_BYTES

    def __init__(self, memory: memoryview | None) -> None:
        self.memory = memory

    def room(self, nbytes: int) -> int:
        return 0

    def view(self, place: int, one: Range) -> memoryview:
        assert self.memory is not None
        return self.memory[one.offset : one.offset + one.nbytes]

    def put(self, place: int, one: Range) -> None:
        return

    def give_up(self, place: int) -> None:
        return

    def guard(self, unit: int) -> None:
        return

    def finish(self) -> None:
        return


class DeviceSink:
    """Through `slots` pieces of staging memory, of `read_bytes` each: that is all the host memory it
    takes.
    """

    def __init__(self, device: Device, memory: Any, slots: int, read_bytes: int = READ_BYTES) -> None:
        self.memory = memory
        self.read_bytes = read_bytes
        self._device = device
        self._staging = [device.staging(read_bytes) for _ in range(slots)]
        self._free = list(range(slots))
        self._leaving: dict[int, Placement] = {}
        self._placements: dict[int, list[Placement]] = {}
        self._condition = threading.Condition()

    def room(self, nbytes: int) -> int:
        if nbytes > len(self._staging[0]):
            raise LoaderError(f"a read of {nbytes} bytes does not fit a slot of {len(self._staging[0])}")
        with self._condition:
            while not self._free and not self._leaving:
                self._condition.wait()
            if self._free:
                return self._free.pop()
            place = next(iter(self._leaving))
            placement = self._leaving.pop(place)
        placement.wait()
        return place

    def view(self, place: int, one: Range) -> memoryview:
        return self._staging[place][: one.nbytes]

    def put(self, place: int, one: Range) -> None:
        placement = self._device.copy(self.view(place, one), self.memory, one.offset)
        with self._condition:
            for unit in {block.unit for block in one.blocks}:
                self._placements.setdefault(unit, []).append(placement)
            self._leaving[place] = placement
            self._condition.notify()

    def give_up(self, place: int) -> None:
        with self._condition:
            self._free.append(place)
            self._condition.notify()

    def guard(self, unit: int) -> None:
        with self._condition:
            placements: Sequence[Placement] = self._placements.get(unit, ())
        for placement in placements:
            placement.guard()

    def finish(self) -> None:
        for placement in self._leaving.values():
            placement.wait()


class MappedDeviceSink:
    """From where the weights are mapped, which is pinned piece by piece: no staging memory, no processor."""

    read_bytes = 32 * 2**20

    def __init__(self, device: Device, memory: Any, weights: memoryview) -> None:
        self.memory = memory
        self._device = device
        self._weights = weights
        self._source = PinnedSource(weights, device)
        self._placed: list[Placement] = []
        self._placements: dict[int, list[Placement]] = {}
        self._lock = threading.Lock()

    def room(self, nbytes: int) -> int:
        return 0

    def view(self, place: int, one: Range) -> memoryview:
        return self._weights[one.offset : one.offset + one.nbytes]

    def put(self, place: int, one: Range) -> None:
        with self._lock:
            for offset, part in self._source.parts(one.offset, one.nbytes):
                placement = self._device.copy(part, self.memory, offset)
                self._placed.append(placement)
                for unit in {block.unit for block in one.blocks}:
                    self._placements.setdefault(unit, []).append(placement)

    def give_up(self, place: int) -> None:
        return

    def guard(self, unit: int) -> None:
        with self._lock:
            placements: Sequence[Placement] = self._placements.get(unit, ())
        for placement in placements:
            placement.guard()

    def finish(self) -> None:
        try:
            for placement in self._placed:
                placement.wait()
        finally:
            self._source.release()
