"""Who owns a run's folder: a name that is taken by one process at a time, and free when that is dead. What
the dead left is removed by whoever comes next."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from glowplug.distributed.errors import RunExists

_OWNER = "owner"
_RUNS = ("glowplug-*", ".glowplug-*")
_LONGEST = 1000
"""Of what an owner tells, in bytes."""


def claim_folder(path: Path, run: str, subfolders: Sequence[str]) -> None:
    """Makes `path` with its subfolders, for this process. Raises RunExists while its owner lives, or where it
    is another user's."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        mark_owner(fresh)
        for name in subfolders:
            (fresh / name).mkdir(mode=0o700)
        _move_into_place(fresh, path, run)
    except BaseException:
        remove_folder(fresh)
        raise


@contextlib.contextmanager
def owned_folder(prefix: str) -> Iterator[Path]:
    """A temporary one of this process, until the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        mark_owner(folder)
        yield folder
    finally:
        remove_folder(folder)


def mark_owner(folder: Path) -> None:
    """It is this process's."""
    (folder / _OWNER).write_text(_identity(os.getpid()))


def remove_folder(path: Path) -> None:
    """Its owner is the last to go, so that what is left of it when this is interrupted is found again, but
    for an empty folder. What cannot be removed stays."""
    if path.is_symlink():
        return
    with contextlib.suppress(OSError):
        for each in list(path.iterdir()):
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each, ignore_errors=True)
            elif each.name != _OWNER:
                each.unlink(missing_ok=True)
        if {each.name for each in path.iterdir()} <= {_OWNER}:
            shutil.rmtree(path, ignore_errors=True)


def abandoned_folders(base: Path) -> list[Path]:
    """Those of runs below `base` whose owner is dead, as far as this process can tell: not another user's,
    nor of another machine that shares `base`, nor of a container that has processes of its own."""
    return [path for pattern in _RUNS for path in base.glob(pattern) if is_abandoned(path)]


def is_abandoned(path: Path) -> bool:
    """Whether its owner is dead, as far as this process can tell."""
    return not path.is_symlink() and _is_dead(_owner(path))


def sweep_folders(base: Path) -> None:
    """Removes them."""
    for path in abandoned_folders(base):
        remove_abandoned(path)


def remove_abandoned(path: Path) -> None:
    """Unless somebody took it over just now."""
    going = path.with_name(f".{path.name.removeprefix('.')}.{os.getpid()}.swept")
    with contextlib.suppress(OSError):
        path.rename(going)
        if _is_dead(_owner(going)):
            remove_folder(going)
        else:
            going.rename(path)


def _is_dead(owner: str) -> bool:
    """An owner that is not told is not dead."""
    told = owner.split()
    is_ours = len(told) == 4 and told[0].isdecimal() and told[2:] == [_namespace(), _machine()]
    return is_ours and _identity(int(told[0])) != owner


def _move_into_place(fresh: Path, path: Path, run: str) -> None:
    try:
        fresh.rename(path)
    except OSError:
        if not _is_ours(path):
            raise RunExists(f"run {run!r}: {path} is another user's: use another name") from None
        owner = _owner(path)
        if owner and not _is_dead(owner):
            raise RunExists(
                f"run {run!r} is open by process {owner.split()[0]} ({path}): end it, or use another name"
            ) from None
        abandoned = fresh.with_name(f"{fresh.name}.abandoned")
        with contextlib.suppress(FileNotFoundError):
            path.rename(abandoned)
        remove_folder(abandoned)
        try:
            fresh.rename(path)
        except OSError:
            raise RunExists(f"run {run!r} was opened by another process just now ({path})") from None


def _is_ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.geteuid()
    except FileNotFoundError:
        return True


def _owner(path: Path) -> str:
    """Empty where it is not told, or by another user, who could also have put a pipe there or a device."""
    try:
        file = os.open(path / _OWNER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(file, "rb") as opened:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            return ""
        return opened.read(_LONGEST).decode(errors="replace").strip()


def _identity(pid: int) -> str:
    """The process by number and start, so that a number used again is another, and by who numbers it; empty
    when it is dead."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    return f"{pid} {told.rpartition(b')')[2].split()[19].decode()} {_namespace()} {_machine()}"


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def _machine() -> str:
    """The first processes of all machines are numbered in a namespace of one name."""
    return os.uname().nodename
