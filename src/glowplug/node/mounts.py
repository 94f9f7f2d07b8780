"""Shows functions the interpreter and the store, even when both live in a home that is closed to others.

Root often keeps Python below a folder of mode 0700. In a private mount namespace of the agent such a folder
is covered by an empty one, into which only what functions need is bound: they can then run as an unprivileged
user, and the rest of that home is hidden from them.
"""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18


def closed_ancestor(path: Path) -> Path | None:
    """The first folder on the way to `path` that others may not enter, or None."""
    for folder in [*reversed(path.parents), *([path] if path.is_dir() else [])]:
        try:
            if not folder.stat().st_mode & stat.S_IXOTH:
                return folder
        except OSError:
            return None
    return None


def reveal(paths: list[Path]) -> list[Path]:
    """Opens the way to `paths` for unprivileged users, in this process and its children only.

    Returns the folders that were covered; raises OSError where the host does not allow mounting.
    """
    covered: dict[Path, list[Path]] = {}
    for path in {p.resolve() for p in paths if p.exists()}:
        closed = closed_ancestor(path)
        if closed is not None:
            covered.setdefault(closed, []).append(path)
    if not covered:
        return []
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _mount(None, Path("/"), None, _MS_REC | _MS_PRIVATE)
    for folder, wanted in covered.items():
        wanted = [p for p in wanted if not any(o != p and p.is_relative_to(o) for o in wanted)]
        handles = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in wanted}
        directories = {path: path.is_dir() for path in wanted}
        _mount("tmpfs", folder, "tmpfs", 0, "mode=0755,size=1m")
        for path, handle in handles.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=True) if directories[path] else path.touch()
            _mount(f"/proc/self/fd/{handle}", path, None, _MS_BIND | _MS_REC)
            os.close(handle)
            if directories[path] and not path.stat().st_mode & stat.S_IXOTH:
                raise OSError(f"{path} itself is closed to others: chmod o+x it, or keep the state elsewhere")
    return list(covered)


def _mount(source: str | None, target: Path, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if v is None else v.encode() for v in (source, str(target), kind, data)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _check(result, f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
