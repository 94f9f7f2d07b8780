"""Files that must survive a power cut."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from glowplug.bundle.trees import below, remove_tree


def sha256_of(path: Path) -> str:
    """Of a file of any size, which is not read into memory. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_tree(folder: Path) -> None:
    """Flushes every file and folder below `folder` to the disk. Raises OSError."""
    for path in (*below(folder), folder):
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
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
