"""An environment's zygote beside libraries that leave threads running: a real interpreter, real imports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import glowplug
from glowplug.node import wire, zygote
from glowplug.node.imports import Imports, carrying
from glowplug.node.messages import FromChild, ZygoteReady

pytestmark = pytest.mark.e2e

WAIT_S = 180.0
LEAVER = """
import os, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
os.environ["COLOUR"] = "left by leaver"
os.dup2(0, 57)  # stays open in whatever this process becomes
"""
HELPED = """
import sys, threading
from glowplug.node import imports
imports._PASSING_S = 60.0  # however long it is until this thread is given a core
main = threading.main_thread().ident
def work():
    while sys._current_frames()[main].f_code.co_name != "lasting_threads":
        threading.Event().wait(0.001)
threading.Thread(target=work, daemon=True).start()
"""
WITNESS = """
import os, sys, time
with open({stamps!r}, "a") as file:
    print(os.getpid(), time.monotonic(), file=file)
"""
CLEAN = """
import os, sys
if "COLOUR" in os.environ or os.path.exists("/proc/self/fd/57") or __debug__ or "leaver" in sys.modules:
    raise ImportError("this is not as it was")
"""
OPENER = "import socket\nends = socket.socketpair()\n"
FAILING = "import leaver\nraise RuntimeError('no such colour')\n"
STUCK = """
import os, socket
door = socket.create_connection(("127.0.0.1", {port}))
door.sendall(b"here")
door.recv(1)
"""


def command(descriptor: int, parent: str, *libraries: str) -> list[str]:
    return [sys.executable, "-O", "-c", zygote.COMMAND, str(descriptor), parent, *libraries]


def variables(folder: Path, **more: str) -> dict[str, str]:
    paths = os.pathsep.join([str(Path(glowplug.__file__).parents[1]), str(folder)])
    return {"PATH": os.environ["PATH"], "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", **more}


def ready(folder: Path, *libraries: str, **more: str) -> ZygoteReady:
    """What a zygote says that was told to import these."""
    ours, theirs = wire.socket_pair()
    ours.settimeout(WAIT_S)
    with theirs:
        process = subprocess.Popen(
            command(theirs.fileno(), str(os.getpid()), *libraries),
            env=variables(folder, **more), pass_fds=(theirs.fileno(),),
        )  # fmt: skip
    try:
        with ours:
            found: Any = wire.Receiver(ours, FromChild).receive()
        assert found is not None, "the zygote ended"
        assert isinstance(found[0], ZygoteReady)
        return found[0]
    finally:
        assert process.wait(WAIT_S) == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sources = {"leaver": LEAVER, "helped": HELPED, "failing": FAILING, "clean": CLEAN, "opener": OPENER}
    sources["above"] = "import leaver\n"
    sources["witness"] = WITNESS.format(stamps=str(tmp_path / "stamps"))
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    return tmp_path


def test_a_library_that_leaves_a_thread_is_left_out(folder: Path) -> None:
    """The replacement is the same process, as it was before, and the time lost counts."""
    found = ready(folder, "witness", "leaver", "clean")
    assert (found.threads, found.missing) == (1, {})
    assert found.left_out == {"leaver": "leaves 1 thread running"}
    (first, first_s), (second, second_s) = [
        line.split() for line in (folder / "stamps").read_text().splitlines()
    ]
    assert first == second
    assert found.phases["import"] > float(second_s) - float(first_s)


def test_a_library_that_leaves_something_open_is_left_out(folder: Path) -> None:
    """Else the processes of all functions of the environment would share it."""
    found = ready(folder, "witness", "opener", "json")
    assert (found.threads, found.missing) == (1, {})
    assert found.left_out == {"opener": "leaves 2 sockets"}
    first, second = [line.split()[0] for line in (folder / "stamps").read_text().splitlines()]
    assert first == second


def test_whatever_imports_such_a_library_is_left_out_too(folder: Path) -> None:
    found = ready(folder, "above", "leaver", "json")
    assert (found.threads, found.missing) == (1, {})
    assert sorted(found.left_out) == ["above", "leaver"]


def test_a_thread_that_ends_by_itself_does_no_harm(folder: Path) -> None:
    found = ready(folder, "helped")
    assert (found.threads, found.left_out, found.missing) == (1, {}, {})


def test_a_library_that_fails_is_missing_whatever_it_left_running(folder: Path) -> None:
    found = ready(folder, "failing", "nowhere", "clean")
    assert (found.threads, found.left_out) == (1, {})
    assert found.missing == {
        "failing": "RuntimeError: no such colour",
        "nowhere": "ModuleNotFoundError: No module named 'nowhere'",
    }


def test_a_library_whose_error_cannot_be_told_is_missing_like_others(folder: Path) -> None:
    (folder / "no_text.py").write_text("raise ImportError('\\udcff' + 'x' * 200_000)")
    (folder / "mute.py").write_text(
        "class Mute(Exception):\n    def __str__(self):\n        raise LookupError\nraise Mute"
    )
    found = ready(folder, "no_text", "mute", "clean")
    assert (found.threads, found.left_out) == (1, {})
    assert found.missing["no_text"].startswith("ImportError: \\udcffxxx")
    assert len(found.missing["no_text"]) <= 500
    assert "Mute" in found.missing["mute"]


def test_what_is_known_is_not_tried_again(folder: Path) -> None:
    known = {"leaver": "was seen before"}
    found = ready(folder, "witness", "leaver", **carrying(Imports(left_out=known)))
    assert (found.threads, found.left_out) == (1, known)
    assert len((folder / "stamps").read_text().splitlines()) == 1


def test_the_replacement_dies_with_its_parent(folder: Path) -> None:
    """It imports for ever, so nothing but the kernel can end it; its connection closes with it."""
    ours, theirs = wire.socket_pair()
    with ours, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_S)
        (folder / "stuck.py").write_text(STUCK.format(port=listener.getsockname()[1]))
        run = command(theirs.fileno(), "PARENT", "leaver", "stuck")
        script = (
            "import os, subprocess, sys\n"
            f"run = [str(os.getpid()) if word == 'PARENT' else word for word in {run!r}]\n"
            f"subprocess.Popen(run, pass_fds=[{theirs.fileno()}]).wait()\n"
        )
        with theirs:
            parent = subprocess.Popen(
                [sys.executable, "-c", script], env=variables(folder), pass_fds=(theirs.fileno(),)
            )
        try:
            with listener.accept()[0] as stuck:
                stuck.settimeout(WAIT_S)
                assert stuck.recv(4) == b"here"
                parent.send_signal(signal.SIGKILL)
                assert stuck.recv(1) == b""
        finally:
            parent.kill()
            parent.wait()
