"""File mappings that tensors can live in, by the C library: Python's own `mmap` keeps a duplicate of the file
descriptor open, which a forked child that closes descriptors would leave dangling.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import weakref
from pathlib import Path

_PAGE_BYTES = mmap.PAGESIZE
_MAP_FAILED = ctypes.c_void_p(-1).value
_PAGEMAP_ENTRY_BYTES = 8
_PRESENT_BIT, _FILE_BIT = 1 << 63, 1 << 61
MADV_POPULATE_READ = 22
"""Since Linux 5.14; the module `mmap` does not name it."""


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    libc.mmap.restype = pointer
    libc.mmap.argtypes = [pointer, size, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
    libc.munmap.argtypes = [pointer, size]
    libc.madvise.argtypes = [pointer, size, ctypes.c_int]
    libc.mincore.argtypes = [pointer, size, pointer]
    return libc


def _raise_errno(what: str) -> None:
    code = ctypes.get_errno()
    raise OSError(code, f"{what}: {os.strerror(code)}")


class Mapping:
    """Part of a file in memory; `offset` must be a multiple of the page size, `nbytes` more than 0.

    A private mapping is writable and never touches the file: a written page becomes this process's own copy.
    A shared one is read-only. It is unmapped when the last user of `buffer()` and this object are gone. Needs
    the descriptor only while it is made. Raises OSError.
    """

    def __init__(self, fd: int, offset: int, nbytes: int, *, private: bool) -> None:
        if private:
            # No reservation: nearly all pages stay clean, so a strict overcommit limit must not count them.
            access = mmap.PROT_READ | mmap.PROT_WRITE
            kind = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0x4000)
        else:
            access, kind = mmap.PROT_READ, mmap.MAP_SHARED
        address = _libc().mmap(None, nbytes, access, kind, fd, offset)
        if address == _MAP_FAILED:
            _raise_errno(f"mapping {nbytes} bytes")
        self.address: int = address
        self.nbytes = nbytes
        weakref.finalize(self, _libc().munmap, address, nbytes).atexit = False

    def buffer(self) -> memoryview:
        """The whole mapping, as bytes that keep it alive."""
        array = (ctypes.c_char * self.nbytes).from_address(self.address)
        array.mapping = self  # type: ignore[attr-defined]
        return memoryview(array).cast("B")

    def advise(self, advice: int, offset: int = 0, nbytes: int | None = None) -> None:
        """madvise(2) of whole pages. Raises OSError."""
        length = self.nbytes - offset if nbytes is None else nbytes
        if _libc().madvise(self.address + offset, length, advice) != 0:
            _raise_errno("madvise")

    def resident_bytes(self) -> int:
        """Bytes of the file part that lie in memory, by mincore(2).

        For whom neither owns the file nor may write it, the kernel answers that all of it does.
        """
        pages = -(-self.nbytes // _PAGE_BYTES)
        vector = (ctypes.c_ubyte * pages)()
        if _libc().mincore(self.address, self.nbytes, vector) != 0:
            _raise_errno("mincore")
        resident = bytes(vector).translate(_LOW_BIT).count(1)
        return min(resident * _PAGE_BYTES, self.nbytes)

    def release_clean(self) -> int:
        """Unmaps every page that still equals the file, and returns how many bytes that were.

        Written pages stay. No thread may write to the mapping meanwhile: its write could be lost.
        """
        first, pages = self.address // _PAGE_BYTES, -(-self.nbytes // _PAGE_BYTES)
        with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
            pagemap.seek(first * _PAGEMAP_ENTRY_BYTES)
            entries = memoryview(pagemap.read(pages * _PAGEMAP_ENTRY_BYTES)).cast("Q")
        released = 0
        start: int | None = None
        for page in range(pages + 1):
            clean = page < pages and entries[page] & (_PRESENT_BIT | _FILE_BIT) == _PRESENT_BIT | _FILE_BIT
            if clean and start is None:
                start = page
            elif not clean and start is not None:
                self.advise(mmap.MADV_DONTNEED, start * _PAGE_BYTES, (page - start) * _PAGE_BYTES)
                released += (page - start) * _PAGE_BYTES
                start = None
        return released


_LOW_BIT = bytes(value & 1 for value in range(256))
