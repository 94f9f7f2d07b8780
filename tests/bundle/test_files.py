"""Folders that a function left behind, removed by root and by somebody who is no root."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glowplug.bundle.files import remove, sync_tree
from glowplug.bundle.trees import below, remove_tree, tree_bytes

REMOVES = """
import os, sys
from pathlib import Path
from glowplug.bundle.trees import remove_tree
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
base = Path(sys.argv[1])
left = base / "scratch" / "left"
(left / "inner").mkdir(parents=True)
(left / "inner" / "file").touch()
kept = base / "kept"
kept.mkdir(mode=0o500)
(left / "link").symlink_to(kept)
for folder, mode in ((left / "inner", 0o500), (left, 0o000)):
    folder.chmod(mode)
remove_tree(base / "scratch")
assert list(base.iterdir()) == [kept], list(base.iterdir())
assert kept.stat().st_mode & 0o777 == 0o500
"""
DEEPER_THAN_PYTHON, DEEPER_THAN_A_PATH = 1100, 5000


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder of everybody's: that of pytest is closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="glowplug-files-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_folders_that_were_made_read_only_are_removed(anybodys: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REMOVES, str(anybodys)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def nested(folder: Path, levels: int) -> None:
    """As many folders in each other, with a file in the innermost."""
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=handle))
    os.close(handle)


@pytest.mark.parametrize("levels", [DEEPER_THAN_PYTHON, DEEPER_THAN_A_PATH])
@pytest.mark.parametrize("how", [remove_tree, remove])
def test_folders_are_removed_however_deep_they_are_nested(
    tmp_path: Path, levels: int, how: Callable[[Path], None]
) -> None:
    nested(tmp_path / "left", levels)
    how(tmp_path / "left")
    assert list(tmp_path.iterdir()) == []


def test_deep_folders_are_counted_and_flushed_and_deeper_ones_are_told(tmp_path: Path) -> None:
    nested(tmp_path / "deep", DEEPER_THAN_PYTHON)
    nested(tmp_path / "deeper", DEEPER_THAN_A_PATH)
    try:
        assert tree_bytes(tmp_path / "deep") > 0
        assert len(list(below(tmp_path / "deep"))) == DEEPER_THAN_PYTHON + 1
        sync_tree(tmp_path / "deep")
        with pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)):
            tree_bytes(tmp_path / "deeper")
    finally:
        for folder in tmp_path.iterdir():
            remove_tree(folder)


def test_nothing_is_removed_by_a_link(tmp_path: Path) -> None:
    kept, left = tmp_path / "kept", tmp_path / "left"
    (left / "inner").mkdir(parents=True)
    kept.mkdir()
    (kept / "file").touch()
    (left / "inner" / "link").symlink_to(kept)
    (tmp_path / "link").symlink_to(kept)
    remove_tree(tmp_path / "link")
    remove_tree(left)
    assert sorted(tmp_path.iterdir()) == [kept, tmp_path / "link"]
    assert (kept / "file").exists()
