"""Folders that a function left behind, removed by somebody who is no root."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REMOVES = """
import os, sys
from pathlib import Path
from glowplug.bundle.files import remove_tree
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
