"""Which sockets of the machine are hidden, in a mount namespace of a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

PROGRAM = """
import json, socket, sys
from pathlib import Path
from glowplug.node import mounts
from glowplug.node.isolation import syscalls

def reached(path):
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(path)
        except ConnectionRefusedError:
            return False
    return True

syscalls.unshare(syscalls.CLONE_NEWNS, "mount")
syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
kept, paths = json.loads(sys.argv[1])
mounts.cover_sockets([Path(each) for each in kept])
print(json.dumps([reached(path) for path in paths]))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A socket's path may not be long."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name).resolve()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount in its own user namespace")
def test_all_are_hidden_but_those_that_lie_where_some_are_kept(folder: Path) -> None:
    """A link to others' folder in the place of one that is kept shows nothing."""
    for name in ("hidden", "kept"):
        (folder / name).mkdir()
    (folder / "link").symlink_to("hidden")
    paths = [str(folder / name) for name in ("hidden/s", "kept/s", "link/t")]
    told = json.dumps([[str(folder / "kept"), str(folder / "link")], paths])
    with ExitStack() as opened:
        for path in paths:
            service = opened.enter_context(socket.socket(socket.AF_UNIX))
            service.bind(path)
            service.listen()
        command = [sys.executable, "-c", PROGRAM, told]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "PermissionError" in done.stderr:
        pytest.skip("this host allows no mounts")
    assert json.loads(done.stdout) == [False, True, False], done.stderr
