"""The server's end and beginning: drain, taken ports and folders, and what else keeps it from starting."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from glowplug.bench.harness import running_server
from tests.e2e.conftest import APPS, WAIT_S, Door, Server, all_gone, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drain(folder: Path, door: Door, pool: ThreadPoolExecutor, number: signal.Signals) -> None:
    """A request that runs finishes, a new one is refused, a follower of the log comes to its end."""
    with serving(folder) as server, ExitStack() as stack:
        server.deploy_some(APPS / "gates.py", "wait")
        running = pool.submit(server.post, "wait", {"port": door.port})
        visitor = door.visitor()
        follower = stack.enter_context(
            server.http.stream("GET", "/system/logs", params={"name": "wait", "follow": True}, timeout=WAIT_S)
        )
        before, scratch = server.tree(), server.run_dir
        os.kill(server.pid, number)
        refused = until(lambda: (a := server.http.get("/readyz")).status_code == 503 and a, "it drains")
        assert refused.status_code == 503
        refused = server.post("wait", {"port": door.port})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "shutting down" in refused.json()["error"]["message"]
        assert follower.read() == b""
        visitor.let_go()
        assert running.result(WAIT_S).json() == visitor.pid
        assert server.process.wait(WAIT_S) == 0
        until(lambda: all_gone(before), "nothing of its tree runs")
        assert not scratch.exists()
        assert "Traceback" not in server.log.read_text()


def test_a_token_that_is_empty_is_none(folder: Path) -> None:
    with running_server([], folder / "state", variables={"GLOWPLUG_TOKEN": ""}) as server:
        assert server.functions() == {}


def glowplug(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "glowplug", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_port_that_is_taken(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = glowplug("serve", "--port", str(port), "--state-dir", folder / "state")
    assert done.returncode == 3
    said = " ".join(done.stderr.split())
    assert f"127.0.0.1:{port}" in said
    assert "--port" in said
    assert "Traceback" not in said


def test_a_state_folder_in_use(server: Server) -> None:
    done = glowplug("serve", "--port", "0", "--state-dir", server.folder / "state")
    assert done.returncode == 3
    said = " ".join(done.stderr.split())
    assert "another server uses" in said
    assert "--state-dir" in said
    assert server.client.invoke("add", {"a": 1}) == 2


def test_a_state_folder_that_can_be_none(folder: Path) -> None:
    (folder / "file").touch()
    for path in (folder / "file", folder / "file" / "below"):
        done = glowplug("serve", "--port", "0", "--state-dir", path)
        assert done.returncode == 3
        assert f"the state folder {path} cannot be used" in " ".join(done.stderr.split())
        assert "--state-dir" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_database_that_is_none(folder: Path) -> None:
    (folder / "state").mkdir()
    (folder / "state" / "glowplug.db").write_bytes(b"not a database at all" * 100)
    done = glowplug("serve", "--port", "0", "--state-dir", folder / "state")
    assert done.returncode == 3
    assert "cannot be opened" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_what_is_strict_starts_with_nothing_less(folder: Path) -> None:
    """Not even for a moment: what is deployed there is not brought back."""
    with serving(folder) as server:
        server.deploy_some(APPS / "gates.py", "add")
    journal = folder / "state" / "journal"
    shutil.rmtree(journal)
    done = glowplug("serve", "--strict", "--same-user", "--port", "0", "--state-dir", folder / "state")
    assert done.returncode == 3
    said = " ".join(done.stderr.split())
    assert "--strict: this host does not allow" in said
    assert "own user: no" in said
    assert "Traceback" not in said
    assert not any(b"add.default" in part.read_bytes() for part in journal.iterdir())


def test_listening_to_others_needs_a_token(folder: Path) -> None:
    done = glowplug("serve", "--host", "0.0.0.0", "--port", "0", "--state-dir", folder / "state")
    assert done.returncode == 2
    assert "--token" in done.stderr


def test_nobody_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # so nobody else does, and nobody listens
        done = glowplug("ps", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert done.returncode == 3
    assert "glowplug serve app.py" in " ".join(done.stderr.split())
