"""Shows functions the interpreter and the store, even when both live in a home that is closed to others.

Root often keeps Python below a folder of mode 0700. In a private mount namespace of the agent such a folder
is covered by an empty one, into which only what functions need is bound: they can then run as an unprivileged
user, and the rest of that home is hidden from them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path

from glowplug.node.isolation.syscalls import MS_BIND, MS_REC, mount


def closed_ancestor(path: Path) -> Path | None:
    """The first folder on the way to `path` that others may not enter, or None."""
    for folder in [*reversed(path.parents), *([path] if path.is_dir() else [])]:
        try:
            if not folder.stat().st_mode & stat.S_IXOTH:
                return folder
        except OSError:
            return None
    return None


def reveal(paths: list[Path], why_not: str = "") -> list[Path]:
    """Opens the way to `paths` for unprivileged users, in this process's mount namespace.

    Returns the folders that were covered; raises OSError where the host does not allow mounting, or
    `why_not` says why it must not be done, if it would have to be.
    """
    covered: dict[Path, list[Path]] = {}
    for path in {p.resolve() for p in paths if p.exists()}:
        closed = closed_ancestor(path)
        if closed is not None:
            covered.setdefault(closed, []).append(path)
    if covered and why_not:
        raise OSError(why_not)
    for folder, wanted in covered.items():
        cover(folder, wanted)
        for path in wanted:
            if path.is_dir() and not path.stat().st_mode & stat.S_IXOTH:
                raise OSError(f"{path} itself is closed to others: chmod o+x it, or keep the state elsewhere")
    return list(covered)


def cover_sockets(kept: Collection[Path] = ()) -> None:
    """Hides every socket of this machine's that has a name now, in this process's mount namespace, but for
    those that lie below `kept`: not what a link there leads to, which anybody may have made. Raises OSError
    where nothing may be mounted."""
    lines = Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines()
    for path in {line[line.index(" /") + 1 :] for line in lines if " /" in line}:
        if any(Path(os.path.realpath(path)).is_relative_to(folder) for folder in kept):
            continue
        try:
            handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # it is gone, or hidden already
        try:
            if stat.S_ISSOCK(os.fstat(handle).st_mode):
                mount("/dev/null", f"/proc/self/fd/{handle}", None, MS_BIND)
        except FileNotFoundError:
            pass  # it went just now
        finally:
            os.close(handle)


def cover(folder: Path, wanted: Iterable[Path]) -> None:
    """Hides what lies in `folder`, but for what is `wanted` of it, in this process's mount namespace. Paths
    are resolved ones. Raises OSError."""
    inside = [path for path in wanted if path.is_relative_to(folder)]
    inside = [path for path in inside if not any(o != path and path.is_relative_to(o) for o in inside)]
    handles = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in inside}
    directories = {path: path.is_dir() for path in inside}
    try:
        mount("tmpfs", str(folder), "tmpfs", 0, "mode=0755,size=1m")
        for path, handle in handles.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=True) if directories[path] else path.touch()
            mount(f"/proc/self/fd/{handle}", str(path), None, MS_BIND | MS_REC)
    finally:
        for handle in handles.values():
            os.close(handle)
