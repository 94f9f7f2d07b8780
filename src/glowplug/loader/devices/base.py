"""What every device can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

T = TypeVar("T")


def not_wanted() -> bool:
    """Whether a device is wanted for anything better: it is not."""
    return False


class Reservation(msgspec.Struct, frozen=True):
    """Room on one device, from `reserve` until `release`."""

    number: int
    nbytes: int


class Placement(Protocol):
    """Weights on their way to a device.

    `memory` is what tensors can live in: a memoryview of this process, or a flat uint8 tensor on the device.
    Its content is right once the placement is done.
    """

    @property
    def memory(self) -> Any: ...

    def done(self) -> bool:
        """Whether all bytes have arrived; never waits, and stays True."""

    def wait(self) -> None:
        """Returns when done."""

    def guard(self) -> None:
        """Work that this thread starts on the device from now on sees the weights. May return before
        `done`.
        """


class Device(Protocol):
    """Safe to use from several threads."""

    @property
    def name(self) -> str: ...

    @property
    def capacity_bytes(self) -> int: ...

    @property
    def free_bytes(self) -> int:
        """Capacity less every reservation."""

    @property
    def context_bytes(self) -> int:
        """What each process takes of the device before any weights lie there. Whoever counts reserves it."""

    def open_context(self) -> None:
        """Makes this process ready to use the device, and returns when it is. Again does nothing."""

    def warm(self, records: Sequence[bytes] = (), wanted: Callable[[], bool] = not_wanted) -> None:
        """Opens the context, and loads into it what the first pass of nearly every model would load, for the
        calling thread, and what those passes loaded that `records` tell of (kernels.py). Nothing more where
        there is nothing to load, or a record is none. Ends soon when the device is `wanted`."""

    def reserve(self, nbytes: int) -> Reservation:
        """Raises DeviceFull when `free_bytes` is less, ValueError for a negative size."""

    def place(self, weights: memoryview, reservation: Reservation) -> Placement:
        """Starts to bring `weights` here and returns at once where the device can.

        `weights` may not change until the placement is done. Raises ValueError when the reservation is
        released or too small.
        """

    def allocate(self, reservation: Reservation) -> Any:
        """Room of the reservation's size, of the kind `Placement.memory` is, for `copy` to fill part by part.

        Its content is anything. Raises ValueError when the reservation is released.
        """

    def staging(self, nbytes: int) -> memoryview:
        """Host memory that `copy` reads fastest: pinned, where the device has such a thing."""

    def copy(self, part: memoryview, memory: Any, offset: int) -> Placement:
        """Starts to bring `part` to `offset` of `memory`, which `allocate` gave; parts may come in any order.

        `part` may not change until the placement is done. Raises ValueError when it does not fit.
        """

    def pin(self, address: int, nbytes: int) -> bool:
        """From now on `copy` reads these bytes of this process at the link's rate; False where it cannot, or
        does anyway. No page may be pinned twice."""

    def unpin(self, address: int) -> None:
        """Undoes the `pin` that began there. No copy from there may be under way."""

    def run(self, work: Callable[[], T], after: Placement | None = None) -> T:
        """Runs `work` on this device once `after` is done, and returns its result. Raises what it raises."""

    def release(self, reservation: Reservation) -> None:
        """Gives the room back; a second time does nothing. Nothing placed there may be used any more."""


class Placed:
    """A placement that was done when it was made."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def done(self) -> bool:
        return True

    def wait(self) -> None:
        return

    def guard(self) -> None:
        return


def require_fit(part: memoryview, total_bytes: int, offset: int) -> None:
    """Raises ValueError when `part` at `offset` reaches past `total_bytes`."""
    if not 0 <= offset <= offset + part.nbytes <= total_bytes:
        raise ValueError(f"{part.nbytes} bytes at {offset} do not fit into {total_bytes}")
