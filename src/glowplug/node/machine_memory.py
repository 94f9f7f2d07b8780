"""What the machine has of memory, and the control groups above this process, whichever has less left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

_STALLED_SHARE = 0.1
"""Of the last ten seconds, in which some process waited for memory."""
_FILES = ("active_file", "inactive_file")
"""Of a group's page cache what the kernel can take back; tmpfs is not among it."""


class MachineMemory(msgspec.Struct, frozen=True):
    """`available_bytes` could be had without swapping. `stalled` is None where the kernel does not say;
    `limited` that a control group has less than the machine."""

    total_bytes: int
    available_bytes: int
    stalled: bool | None = None
    limited: bool = False


def read_memory(root: Path = Path("/")) -> MachineMemory:
    """As the files below `root` tell. Raises OSError or ValueError when /proc/meminfo does not."""
    total, available = _in_meminfo(root)
    least = MachineMemory(total, available, _stalled(root / "proc/pressure/memory"))
    for folder in _groups(root):
        with contextlib.suppress(OSError, ValueError):  # a group that is gone, or has no limit
            bound_bytes, free_bytes = _left_in(folder)
            if bound_bytes < total and free_bytes < least.available_bytes:
                stalled = _stalled(folder / "memory.pressure")
                stalled = least.stalled if stalled is None else stalled
                least = MachineMemory(bound_bytes, max(0, free_bytes), stalled, limited=True)
    return least


def most_bytes(root: Path = Path("/")) -> int:
    """All that there is: the machine's, or the least that a control group above this process may have. Raises
    as read_memory."""
    most, _ = _in_meminfo(root)
    for folder in _groups(root):
        with contextlib.suppress(OSError, ValueError):
            most = min(most, _limit(folder))
    return most


def _in_meminfo(root: Path) -> tuple[int, int]:
    """(the machine's bytes, what of them could be had)."""
    fields = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines())
    try:
        total, available = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except KeyError as error:
        raise ValueError(f"/proc/meminfo has no {error.args[0]}") from error
    return total, available


def _groups(root: Path) -> Iterator[Path]:
    """This process's group and those above it, of version 2 or 1. A container often shows its own as the
    root."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for _, names, path in (line.split(":", 2) for line in lines):
        if names and "memory" not in names.split(","):
            continue
        top = mount / "memory" if names else mount
        folder = top / path.lstrip("/")
        while folder != top:
            yield folder
            folder = folder.parent
        yield top


def _left_in(folder: Path) -> tuple[int, int]:
    """The group's limit, and what is left below it. Raises ValueError where it has none."""
    bound_bytes = _limit(folder)
    used, prefix = ("memory.current", "") if _is_unified(folder) else ("memory.usage_in_bytes", "total_")
    stat = dict(line.split(" ", 1) for line in (folder / "memory.stat").read_text().splitlines())
    cached_bytes = sum(int(stat[f"{prefix}{name}"]) for name in _FILES if f"{prefix}{name}" in stat)
    return bound_bytes, bound_bytes - (int((folder / used).read_text()) - cached_bytes)


def _limit(folder: Path) -> int:
    """Raises ValueError where it has none."""
    names = ("memory.max", "memory.high") if _is_unified(folder) else ("memory.limit_in_bytes",)
    texts = [(folder / name).read_text().strip() for name in names]
    return min(int(text) for text in texts if text != "max")


def _is_unified(folder: Path) -> bool:
    """Whether the group is of version 2."""
    return (folder / "memory.current").exists()


def _stalled(path: Path) -> bool | None:
    try:
        some = path.read_text().splitlines()[0]
        (share,) = (word[len("avg10=") :] for word in some.split() if word.startswith("avg10="))
        return float(share) / 100 >= _STALLED_SHARE
    except (OSError, ValueError, IndexError):  # the kernel may have it switched off
        return None
