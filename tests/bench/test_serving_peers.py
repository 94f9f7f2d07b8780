"""How servers are started and ended for an experiment, with small programs in their place."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from glowplug.bench.gateway.asks import WORKLOADS, ours, right_answer, v2
from glowplug.bench.peers.scripts import BASELINES
from glowplug.bench.peers.serving import CONTENDERS, KEEPER, lacks, running, versions
from glowplug.bench.systems.processes import descendants, living

STUBBORN = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def stay():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        stay()
    os._exit(0)
os.wait()
if os.fork() == 0:
    stay()
print("up", flush=True)
{end}
"""
STAY, LEAVE = "stay()", "sys.exit(3)"


@pytest.fixture
def keep() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts the keeper with a program under it that has printed a line."""
    started: list[subprocess.Popen[bytes]] = []

    def start(program: str) -> subprocess.Popen[bytes]:
        # The keeper's patience with who ignores SIGTERM is not this test's.
        keeper = KEEPER.read_text().replace("GRACE_S = 10.0", "GRACE_S = 0.05")
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", keeper, sys.executable, "-c", program],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        assert pipe(process.stdout).readline() == b"up\n"
        return process

    yield start
    for process in started:
        if process.poll() is None:
            pipe(process.stdin).close()
            process.wait(30)
        pipe(process.stdout).close()


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def test_all_end_when_the_pipe_is_closed_whatever_they_ignore(
    keep: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    process = keep(STUBBORN.format(end=STAY))
    below = descendants(process.pid)
    assert len(below) == 3
    pipe(process.stdin).close()
    assert process.wait(30) == 128 + signal.SIGKILL
    assert living(below) == []


def test_all_end_when_the_command_ends_and_its_status_is_told(
    keep: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    process = keep(STUBBORN.format(end=LEAVE))
    assert process.wait(30) == 3
    assert pipe(process.stdout).read() == b""  # Whoever was left would hold this open.


def test_a_command_that_obeys_is_told_first(keep: Callable[[str], subprocess.Popen[bytes]]) -> None:
    process = keep("""
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("up", flush=True)
while True:
    signal.pause()
""")
    process.send_signal(signal.SIGTERM)
    # The grace is over at once under load: then it was killed, which is right as well.
    assert process.wait(30) in (7, 128 + signal.SIGKILL)


def test_a_server_that_ends_says_why() -> None:
    broken = replace(CONTENDERS["floor-asgi"], script="no_such_server")
    with running(broken, "echo", threads=1) as server:
        server.process.wait(30)
        with pytest.raises(RuntimeError, match=r"ended with status 1:[^$]*no_such_server"):
            server.check_alive()
        folder = server.folder
    assert not folder.exists()


def test_nothing_of_a_server_is_left_when_it_is_not_needed_any_more() -> None:
    with running(CONTENDERS["floor-worker"], "echo", threads=1) as server:
        pid = server.process.pid
        assert pid in descendants(os.getpid())
    assert living([pid]) == []
    assert living(descendants(pid)) == []


def test_what_is_not_installed_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    peer = CONTENDERS["mosec"]
    missing = replace(peer, environment=str(tmp_path / "none"))
    assert lacks(missing) == f"{tmp_path / 'none'} does not exist: run `make peers`"
    here = replace(peer, environment="own", packages=("mosec", "uvicorn"))
    assert lacks(here) == "own has no mosec: run `make peers`"
    assert set(versions(here)) == {"uvicorn"}
    assert lacks(CONTENDERS["floor-starlette"]) is None


def test_every_server_can_be_asked_for_all_that_it_serves() -> None:
    for contender in CONTENDERS.values():
        assert (BASELINES / "serving" / f"{contender.script}.py").is_file()
        assert set(contender.workloads) <= set(WORKLOADS)
        for workload in contender.workloads:
            assert len(contender.ask(workload).body) > 10
    sizes = {name: len(CONTENDERS[name].ask("tensor").body) for name in ("mosec", "mlserver")}
    assert sizes["mosec"] == 602_112 < len(ours("tensor").body) < 602_112 + 1000
    assert sizes["mlserver"] > 602_112 * 4 / 3


def test_the_answers_of_v2_are_read_as_those_of_others() -> None:
    said = b'{"outputs": [{"data": ["{\\"shape\\": [3], \\"sum\\": 1.5}"]}]}'
    assert v2("tensor").read(said) == {"shape": [3], "sum": 1.5}
    assert v2("minilm").read(b'{"outputs": [{"data": [0.5, 1]}]}') == [0.5, 1]
    assert right_answer("tensor")["shape"] == [3, 224, 224]


def test_servers_import_nothing_of_ours() -> None:
    for script in (BASELINES / "serving").glob("*.py"):
        for node in ast.walk(ast.parse(script.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not [name for name in names if name.partition(".")[0] == "glowplug"], script
