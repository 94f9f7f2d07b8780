"""Memory that was touched before: fresh pages cost ten times what copying into old ones does.

On the machine this was written on, a fresh GB takes 1.0 s to touch by 4-KiB pages and 0.3 s by huge ones,
and copying a GB into touched memory 0.09 s.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref

from glowplug.loader.forks import renew_in_children

_MADV_POPULATE_WRITE = 23
_HUGE_PAGE_BYTES = 2 * 2**20


MOST_UNUSED_BYTES = 32 * 2**20
"""A block may be so much larger than what is asked for: what nobody uses of it is memory held for nothing."""


class Block:
    """Anonymous memory of `nbytes`, a multiple of a huge page. Unmapped when this object is gone."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = -(-max(nbytes, 1) // _HUGE_PAGE_BYTES) * _HUGE_PAGE_BYTES
        self._map = mmap.mmap(-1, self.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        try:
            self._map.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            pass  # a kernel without huge pages: slower to touch, no less right

    def touch(self) -> None:
        """Has the kernel give every page now, rather than at its first use. Raises OSError (no memory
        left).
        """
        try:
            self._map.madvise(_MADV_POPULATE_WRITE)
        except OSError as error:
            if error.errno != 22:
                raise
            for offset in range(0, self.nbytes, mmap.PAGESIZE):  # Linux before 5.14
                self._map[offset] = 0

    def view(self) -> memoryview:
        return memoryview(self._map)


class Arena:
    """Blocks that are lent to one load after another. Safe to use from several threads.

    At most `idle_bytes` of blocks that nobody uses are kept. What was lent comes back by itself when the last
    tensor in it is gone; the memory then holds whatever the last user left.
    """

    def __init__(self, idle_bytes: int) -> None:
        self.idle_bytes = idle_bytes
        self._idle: list[Block] = []
        # Re-entrant: a collection that sets in while it is held may end a tensor, and that keeps a block.
        self._lock = threading.RLock()
        renew_in_children(self)

    def renew(self) -> None:
        self._lock = threading.RLock()

    @property
    def held_bytes(self) -> int:
        """Bytes of the blocks that wait for a user."""
        with self._lock:
            return sum(block.nbytes for block in self._idle)

    def prepare(self, nbytes: int) -> None:
        """Makes sure that a touched block of this size waits, within `idle_bytes`. Raises OSError."""
        with self._lock:
            ready = bool(self._fitting(nbytes))
        if not ready and nbytes <= self.idle_bytes:
            block = Block(nbytes)
            block.touch()
            self._keep(block)

    def lend(self, nbytes: int) -> memoryview:
        """Writable memory of exactly `nbytes`, the smallest idle block that is large enough, else fresh. It
        begins with a page.

        Raises OSError where there is no memory.
        """
        with self._lock:
            block = min(self._fitting(nbytes), key=lambda block: block.nbytes, default=None)
            if block is not None:
                self._idle.remove(block)
        return self._lent(block if block is not None else Block(nbytes), nbytes)

    def _fitting(self, nbytes: int) -> list[Block]:
        return [block for block in self._idle if 0 <= block.nbytes - nbytes <= MOST_UNUSED_BYTES]

    def _lent(self, block: Block, nbytes: int) -> memoryview:
        # Whoever uses the view holds the array, and the array's end tells that all of them are gone.
        array = (ctypes.c_char * nbytes).from_buffer(block.view())
        weakref.finalize(array, self._keep, block).atexit = False
        return memoryview(array).cast("B")

    def _keep(self, block: Block) -> None:
        with self._lock:
            if block.nbytes > self.idle_bytes:
                return
            # The last used is the likeliest to fit the next: older ones make room for it.
            while sum(idle.nbytes for idle in self._idle) + block.nbytes > self.idle_bytes:
                self._idle.pop(0)
            self._idle.append(block)


NO_ARENA = Arena(0)
"""Lends fresh memory, and keeps nothing."""
