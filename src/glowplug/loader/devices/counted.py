"""What devices have in common: reservations that are counted, and memory where it is this process's own."""

from __future__ import annotations

import itertools
import threading

from glowplug.loader.arena import NO_ARENA
from glowplug.loader.devices.base import Reservation
from glowplug.loader.errors import DeviceFull


class Ledger:
    """Counts reservations against a capacity, exactly."""

    def __init__(self, device: str, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._device = device
        self._numbers = itertools.count(1)
        self._reserved: dict[int, int] = {}
        self._lock = threading.Lock()

    @property
    def free_bytes(self) -> int:
        with self._lock:
            return self.capacity_bytes - sum(self._reserved.values())

    def reserve(self, nbytes: int) -> Reservation:
        if nbytes < 0:
            raise ValueError(f"{nbytes} bytes cannot be reserved")
        with self._lock:
            free = self.capacity_bytes - sum(self._reserved.values())
            if nbytes > free:
                raise DeviceFull(
                    f"{self._device} has {free} of {self.capacity_bytes} bytes free, {nbytes} are needed; "
                    "release something first"
                )
            reservation = Reservation(next(self._numbers), nbytes)
            self._reserved[reservation.number] = nbytes
            return reservation

    def check(self, reservation: Reservation, nbytes: int) -> None:
        with self._lock:
            held = self._reserved.get(reservation.number)
        if held is None:
            raise ValueError(f"the reservation of {reservation.nbytes} bytes on {self._device} was released")
        if nbytes > held:
            raise ValueError(f"{nbytes} bytes do not fit the reservation of {held} on {self._device}")

    def release(self, reservation: Reservation) -> None:
        with self._lock:
            self._reserved.pop(reservation.number, None)


class Counted:
    """The half of a device that reserves, by a ledger of its own."""

    def __init__(self, name: str, capacity_bytes: int) -> None:
        self.name = name
        self._ledger = Ledger(name, capacity_bytes)

    @property
    def capacity_bytes(self) -> int:
        return self._ledger.capacity_bytes

    @property
    def free_bytes(self) -> int:
        return self._ledger.free_bytes

    def reserve(self, nbytes: int) -> Reservation:
        return self._ledger.reserve(nbytes)

    def release(self, reservation: Reservation) -> None:
        self._ledger.release(reservation)


class InHostMemory(Counted):
    """Weights lie in this process's memory: nothing is gained by pinning it."""

    def allocate(self, reservation: Reservation) -> memoryview:
        self._ledger.check(reservation, reservation.nbytes)
        return NO_ARENA.lend(reservation.nbytes)

    def staging(self, nbytes: int) -> memoryview:
        return memoryview(bytearray(nbytes))

    def pin(self, address: int, nbytes: int) -> bool:
        return False

    def unpin(self, address: int) -> None:
        return
