"""Files that must survive a power cut, and what they take."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Of a file of any size, which is not read into memory. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_tree(folder: Path) -> None:
    """Flushes every file and folder below `folder` to the disk."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def move_durably(source: Path, target: Path) -> None:
    """Renames, and flushes the folder that now holds the name. Raises OSError."""
    source.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """With all that lies in it, folders too that their owner made read-only, where that is us. What cannot be
    removed stays."""
    shutil.rmtree(folder, ignore_errors=True)
    # Nothing is closed to root, and it must follow no links here.
    if os.geteuid() == 0 or not folder.exists():
        return
    closed = [folder]
    while closed:
        path = closed.pop()
        with contextlib.suppress(OSError):
            path.chmod(0o700)
            closed += [Path(each) for each in os.scandir(path) if each.is_dir(follow_symlinks=False)]
    shutil.rmtree(folder, ignore_errors=True)


def tree_bytes(folder: Path) -> int:
    """What a folder takes on the disk, by blocks; what vanishes meanwhile is not counted."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(parent) / name).lstat().st_blocks * 512
    return total


def touch(path: Path) -> bool:
    """Whether it is there; if so it was used just now, as its time says."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except OSError:  # another's, who may read it
        return path.exists()
    return True


def remove(path: Path) -> None:
    """A file, or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
