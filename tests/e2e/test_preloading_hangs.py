"""A worker that is loaded ahead and hangs, on a real server: its function answers all the same."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import WAIT_S, Server, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

SOURCE = """
import os, socket, threading
import glowplug
app = glowplug.App("hangs")

@app.model(preload="always", network=True, timeout="100s")
class Hangs:
    def setup(self):
        with socket.create_connection(("127.0.0.1", {port})) as line:
            line.recv(1)
        # With a thread it cannot be forked, so that each worker runs its own setup.
        threading.Thread(target=threading.Event().wait, daemon=True).start()

    @glowplug.endpoint
    def answer(self) -> int:
        return os.getpid()
"""


class Doorkeeper:
    """Lets in whoever comes, but for the next one after `hold`, who waits for ever."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.held: socket.socket | None = None
        self._holds = False
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def hold(self) -> None:
        self._holds = True

    def _keep(self) -> None:
        while True:
            try:
                visitor = self._listener.accept()[0]
            except OSError:
                return
            if self._holds:
                self._holds = False
                self.held = visitor
                continue
            with visitor:
                visitor.sendall(b".")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(WAIT_S)
        if self.held is not None:
            self.held.close()


@pytest.fixture
def keeper() -> Iterator[Doorkeeper]:
    made = Doorkeeper()
    yield made
    made.close()


def kill_worker(server: Server, pid: int) -> None:
    found = server.outer(pid)
    assert found is not None
    os.kill(found, signal.SIGKILL)


def test_a_pre_load_that_hangs_keeps_no_request_waiting_for_long(folder: Path, keeper: Doorkeeper) -> None:
    with serving(folder, options=["--preload", "ladder"]) as server:
        server.deploy(server.write(SOURCE.format(port=keeper.port)))
        first = server.post("hangs").json()
        failed = server.client.info()["preload"]["failed"]
        keeper.hold()
        kill_worker(server, first)
        held = until(lambda: keeper.held, "another is loaded ahead, and hangs")
        until(lambda: server.client.info()["preload"]["climbing"], "it is told that it climbs")
        response = server.post("hangs")
        assert response.status_code == 200, response.text
        assert response.json() != first
        assert response.elapsed.total_seconds() < 60.0, "the end of all climbs is not waited for"
        held.settimeout(WAIT_S)
        assert held.recv(1) == b"", "it was killed"
        assert server.client.info()["preload"]["failed"] == failed + 1
        assert server.client.describe("hangs").error == ""
