"""Who owns a run's folder: a name that is taken by one process at a time, and free when that is dead."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from glowplug.distributed.errors import RunExists

_OWNER = "owner"


def claim_folder(path: Path, run: str, subfolders: Sequence[str]) -> None:
    """Makes `path` with its subfolders, for this process. Raises RunExists while its owner lives."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        (fresh / _OWNER).write_text(_identity(os.getpid()))
        for name in subfolders:
            (fresh / name).mkdir(mode=0o700)
        _move_into_place(fresh, path, run)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _move_into_place(fresh: Path, path: Path, run: str) -> None:
    try:
        fresh.rename(path)
    except OSError:
        owner = _owner(path)
        if owner and _identity(int(owner.split()[0])) == owner:
            raise RunExists(
                f"run {run!r} is open by process {owner.split()[0]} ({path}): end it, or use another name"
            ) from None
        abandoned = fresh.with_name(f"{fresh.name}.abandoned")
        with contextlib.suppress(FileNotFoundError):
            path.rename(abandoned)
        shutil.rmtree(abandoned, ignore_errors=True)
        try:
            fresh.rename(path)
        except OSError:
            raise RunExists(f"run {run!r} was opened by another process just now ({path})") from None


def _owner(path: Path) -> str:
    try:
        return (path / _OWNER).read_text()
    except OSError:
        return ""


def _identity(pid: int) -> str:
    """The process by number and start, so that a number used again is another; empty when it is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return f"{pid} {stat.rpartition(')')[2].split()[19]}"
