"""Bodies that are too big to copy through a socket lie in regions of shared memory that are used again.

The sender owns a region, a memfd, and passes its descriptor (SCM_RIGHTS) with the first frame that uses it.
It may write there again only when a frame of its peer carried Flag.REGION_FREE. A worker has one region, and
while that is lent a big answer goes inline, which is right, only slower; a gateway has one for each request
that a worker holds (lent_regions.py). Measured on 2 cores, sender to receiver and back: 600 KB 1.1 ms inline
and 0.3 ms in a region, 16 MB 17 ms and 6 ms; at 64 KB and below inline wins. A new region for each body
would save nothing: its pages cost what the copies cost.

A region is sealed against resizing, so that nobody can cut it short under a mapping (SIGBUS). The gateway
nevertheless never maps what a worker sent; it reads, which can only come short. A worker maps what it is
lent, shared and once (kept_regions.py): what its user code writes there reaches only its own later bodies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket

from glowplug.transport.frames import ProtocolError

THRESHOLD_BYTES = 128 * 1024
"""Bodies from this size on travel in a region."""
KEPT_BYTES = 16 * 2**20
"""No region is larger; a larger body goes inline."""
_SMALLEST_BYTES = 2**20
_PIECES_AT_ONCE = 512
"""Fewer than the kernel takes in one call."""
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
DESCRIPTOR_BYTES = 4
CLOSE_ON_EXEC, CUT_OFF, AT_ONCE = map(int, (socket.MSG_CMSG_CLOEXEC, socket.MSG_CTRUNC, socket.MSG_DONTWAIT))
"""Flags of recvmsg, as plain numbers: joining two of the module's own takes longer than the call."""
ANCILLARY_BYTES = socket.CMSG_LEN(DESCRIPTOR_BYTES)
"""Room for one descriptor in a recvmsg; more are cut off by the kernel, which shows as MSG_CTRUNC."""
STRANGERS_ANCILLARY_BYTES = socket.CMSG_SPACE(253 * DESCRIPTOR_BYTES)
"""Room for as many as the kernel passes in one message: what it cuts off it closes then (closing.py)."""


def create_region(size_bytes: int) -> int:
    """A descriptor of a sealed memfd of exactly `size_bytes`, close-on-exec."""
    descriptor = os.memfd_create("glowplug-body", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def checked_size(descriptor: int) -> int:
    """The size of a region that came from a peer. Raises ProtocolError unless it is a sealed plain memfd."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        raise ProtocolError("the descriptor that came is no shared memory") from None
    facts = os.fstat(descriptor)
    if seals & _SEALS != _SEALS or facts.st_blksize != mmap.PAGESIZE or facts.st_size > KEPT_BYTES:
        raise ProtocolError("a region must be sealed, of ordinary pages, and within its bound")
    return facts.st_size


def descriptor_message(descriptor: int) -> list[tuple[int, int, bytes]]:
    """What sendmsg takes to pass `descriptor` along."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor.to_bytes(DESCRIPTOR_BYTES, "little"))]


def received_descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors in what recvmsg gave; the caller owns them."""
    return [
        int.from_bytes(data[at : at + DESCRIPTOR_BYTES], "little")
        for level, kind, data in ancillary
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS
        for at in range(0, len(data) - DESCRIPTOR_BYTES + 1, DESCRIPTOR_BYTES)
    ]


def write_body(descriptor: int, pieces: tuple[bytes | bytearray | memoryview, ...]) -> None:
    """Writes a body into a region, from its beginning on."""
    at = 0
    for first in range(0, len(pieces), _PIECES_AT_ONCE):
        at += _write_whole(descriptor, pieces[first : first + _PIECES_AT_ONCE], at)


def region_size(length: int) -> int:
    """The size of a new region for a body of this length: bodies that are a little larger fit in as well."""
    return max(_SMALLEST_BYTES, 1 << (length - 1).bit_length())


def _write_whole(descriptor: int, pieces: tuple[bytes | bytearray | memoryview, ...], at: int) -> int:
    """Writes the pieces one after another from offset `at` on, and returns their length."""
    length = sum(map(len, pieces))
    written = os.pwritev(descriptor, pieces, at)
    if written < length:
        rest = memoryview(b"".join(pieces))
        while written < length:
            written += os.pwrite(descriptor, rest[written:], at + written)
    return length


class OutgoingRegion:
    """The region a worker writes to. At most one body lies in it at a time."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._size_bytes = 0
        self._lent = False

    def place(self, *pieces: bytes | bytearray | memoryview) -> tuple[bool, int | None]:
        """Writes a body, whole or in pieces. Returns (placed, descriptor): where placed is False the body
        must go inline, and where a descriptor is given it must travel with the frame (it stays owned
        here)."""
        length = sum(map(len, pieces))
        if self._lent or not THRESHOLD_BYTES <= length <= KEPT_BYTES:
            return False, None
        fresh = None
        if self._size_bytes < length:
            size_bytes = region_size(length)
            try:
                fresh = create_region(size_bytes)
            except OSError:
                return False, None
            self.close()
            self._descriptor, self._size_bytes = fresh, size_bytes
        assert self._descriptor is not None
        write_body(self._descriptor, pieces)
        self._lent = True
        return True, fresh

    def returned(self) -> None:
        """The peer has done with what lay here. Raises ProtocolError if nothing did."""
        if not self._lent:
            raise ProtocolError("a region was given back that was not lent")
        self._lent = False

    def close(self) -> None:
        descriptor, self._descriptor, self._size_bytes = self._descriptor, None, 0
        if descriptor is not None:
            os.close(descriptor)


class IncomingRegion:
    """The region of a worker, as its gateway sees it."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._size_bytes = 0

    def replace(self, descriptor: int) -> None:
        """Takes over a descriptor that came, unless ProtocolError is raised."""
        size_bytes = checked_size(descriptor)
        self.close()
        self._descriptor, self._size_bytes = descriptor, size_bytes

    def read(self, length: int) -> bytes:
        """A copy of the first `length` bytes. Raises ProtocolError when they are not there."""
        descriptor = self._descriptor
        if descriptor is None or not 0 < length <= self._size_bytes:
            raise ProtocolError(f"a body of {length} bytes does not fit a region of {self._size_bytes}")
        data = os.pread(descriptor, length, 0)
        if len(data) != length:
            raise ProtocolError(f"the region holds {len(data)} bytes, not {length}")
        return data

    def close(self) -> None:
        descriptor, self._descriptor, self._size_bytes = self._descriptor, None, 0
        if descriptor is not None:
            os.close(descriptor)
