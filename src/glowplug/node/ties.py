"""What ties a process to its forks: all that a fork shares with it instead of having a copy of its own.

A fork copies memory. It shares every open descriptor (a connection, whose answers may then reach the wrong
process; a file, whose position moves for all), memory that is mapped to be shared (a lock that one of them
dies with), and has no part in the processes that were started before. Whoever forks for others' sake takes
`Ties.now()` before somebody's code runs, and asks afterwards what is `new`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

_HARMLESS = {os.makedev(1, minor) for minor in (3, 5, 7, 8, 9)}
"""null, zero, full, random, urandom: there is nothing of theirs to share."""
_NAMES = 3
"""So many files are named."""


class _Open(NamedTuple):
    descriptor: int
    device: int
    inode: int
    target: str


class Ties(NamedTuple):
    """Of this process at one moment. Takes a millisecond or two where torch is loaded: the kernel lists all
    mappings."""

    opened: frozenset[_Open]
    shared: frozenset[str]
    """Ranges of memory that is written and shared."""
    children: frozenset[int]

    @classmethod
    def now(cls) -> Ties:
        """Raises OSError when no file can be opened any more."""
        return cls(frozenset(_opened()), frozenset(_shared()), frozenset(_children()))

    def new(self, ours: Collection[int] = ()) -> str:
        """What has come since, in words as in "2 sockets and an open file (notes.txt)"; else empty. Does not
        count the descriptors `ours`, nor what is only mapped to be read. Raises OSError as `now` does."""
        now = Ties.now()
        found = [each for each in now.opened - self.opened if each.descriptor not in ours]
        inodes = Counter((each.device, each.inode) for each in found)
        mapped = _mapped_to_read() if found else set()
        kinds: Counter[str] = Counter()
        names: set[str] = set()
        for each in found:
            alone = inodes[each.device, each.inode] == 1
            kind = _kind(each, is_a_mapping=alone and each.target in mapped)
            kinds[kind] += bool(kind)
            if kind == _FILE:
                names.add(Path(each.target.removesuffix(" (deleted)")).name)
        kinds[_MEMORY] = len(now.shared - self.shared)
        kinds[_CHILD] = len(now.children - self.children)
        return _in_words(+kinds, sorted(names))


_FILE = "open file"
_MEMORY, _MEMORIES = "piece of shared memory", "pieces of shared memory"
_CHILD, _CHILDREN = "child process", "child processes"
_PLURALS = {_MEMORY: _MEMORIES, _CHILD: _CHILDREN}


def _kind(opened: _Open, *, is_a_mapping: bool) -> str:
    """What it is, in singular; empty when a fork may well share it, or it has been closed."""
    try:
        found = os.fstat(opened.descriptor)
        reads = fcntl.fcntl(opened.descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    except OSError:
        return ""
    if stat.S_ISSOCK(found.st_mode):
        return "socket"
    if stat.S_ISFIFO(found.st_mode):
        return "pipe"
    if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
        # Python's mmap keeps a duplicate of the descriptor, from which nobody reads.
        return "" if is_a_mapping and reads else _FILE
    if stat.S_ISCHR(found.st_mode) and found.st_rdev in _HARMLESS:
        return ""
    return f"{opened.target.removeprefix('anon_inode:').strip('[]')} descriptor"


def _in_words(kinds: Counter[str], names: list[str]) -> str:
    said = []
    for kind, count in sorted(kinds.items()):
        if count == 1:
            words = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
        else:
            words = f"{count} {_PLURALS.get(kind, f'{kind}s')}"
        if kind == _FILE:
            words += f" ({', '.join(names[:_NAMES])}{', ...' * (len(names) > _NAMES)})"
        said.append(words)
    return " and ".join(filter(None, [", ".join(said[:-1]), *said[-1:]]))


def _opened() -> Iterator[_Open]:
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):  # the one that this listing was read from
            found = os.fstat(int(entry.name))
            yield _Open(int(entry.name), found.st_dev, found.st_ino, str(entry.readlink()))


def _mappings() -> list[bytes]:
    with open("/proc/self/maps", "rb") as file:
        return file.read().splitlines()


def _is_written_by_all(mapping: bytes) -> bool:
    return b" rw-s " in mapping or b" rwxs " in mapping


def _shared() -> Iterator[str]:
    return (line.split(b" ", 1)[0].decode() for line in _mappings() if _is_written_by_all(line))


def _mapped_to_read() -> set[str]:
    """Files, by their paths."""
    fields = (line.split(maxsplit=5) for line in _mappings() if not _is_written_by_all(line))
    return {os.fsdecode(each[5]) for each in fields if len(each) > 5}


def _children() -> Iterator[int]:
    """Those that live. None where the kernel does not tell (CONFIG_PROC_CHILDREN)."""
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            for pid in (task / "children").read_text().split():
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                        yield int(pid)
