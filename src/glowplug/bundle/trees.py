"""Folders of others' making, looked at and removed whole: they may be nested deeper than Python recurses, and
deeper than a path can say."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def below(folder: Path) -> Iterator[Path]:
    """All files and folders in it, each before what lies in it; no link is followed. Raises OSError."""
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as found:
            for each in found:
                yield Path(each.path)
                if each.is_dir(follow_symlinks=False):
                    waiting.append(Path(each.path))


def tree_bytes(folder: Path) -> int:
    """What a folder takes on the disk, by blocks; what vanishes meanwhile is not counted. Raises OSError when
    it is nested so deep that there is no path to what lies there."""
    total, waiting = 0, [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for each in found:
                    with contextlib.suppress(OSError):
                        total += each.stat(follow_symlinks=False).st_blocks * 512
                    if each.is_dir(follow_symlinks=False):
                        waiting.append(each.path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise
    return total


def remove_tree(folder: Path) -> None:
    """With all that lies in it, folders too that their owner made read-only, where that is us. What cannot be
    removed stays. Raises nothing."""
    with contextlib.suppress(OSError):
        _unlock(str(folder), None)
        top = os.open(folder, _FOLDER)
        try:
            _empty(top)
        finally:
            os.close(top)
        folder.rmdir()


def _empty(top: int) -> None:
    """What lies in a folder that lies in it is brought up into it first: so nothing ever lies deeper."""
    waiting, token, number = os.listdir(top), secrets.token_hex(8), 0
    while waiting:
        name = waiting.pop()
        if _unlinked(name, top):
            continue
        try:
            _unlock(name, top)
            inner = os.open(name, _FOLDER, dir_fd=top)
        except OSError:
            continue
        try:
            for each in os.listdir(inner):  # noqa: PTH208  by its handle
                if not _unlinked(each, inner):
                    _unlock(each, inner)
                    number += 1
                    risen = f".{token}-{number}"
                    try:
                        os.rename(each, risen, src_dir_fd=inner, dst_dir_fd=top)
                    except OSError:  # some file systems move no folder of a layer that they only read
                        shutil.rmtree(each, ignore_errors=True, dir_fd=inner)
                    else:
                        waiting.append(risen)
        finally:
            os.close(inner)
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=top)


def _unlinked(name: str, folder: int) -> bool:
    """False for a folder that is not empty, and for what cannot be removed."""
    try:
        os.unlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            return False
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=folder)
            return True
        return False
    return True


def _unlock(name: str, folder: int | None) -> None:
    """Opens a folder of ours to us, and no link's target. Nothing is closed to root."""
    if os.geteuid() == 0:
        return
    with contextlib.suppress(OSError):
        handle = os.open(name, os.O_PATH | _FOLDER, dir_fd=folder)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)  # noqa: PTH101  by its handle
        finally:
            os.close(handle)
