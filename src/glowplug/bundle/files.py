"""Files that must survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path


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
