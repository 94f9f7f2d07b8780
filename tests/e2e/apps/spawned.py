"""Functions for spawned calls: each run leaves a line in a file that the test reads, or waits at its door."""

from __future__ import annotations

import os
import socket

import glowplug

app = glowplug.App("spawned")


def leave_mark(port: int, text: str) -> None:
    """Tells a test that it runs; from then on it counts as run."""
    with socket.create_connection(("127.0.0.1", port)) as door:
        door.sendall(f"{text}\n".encode())
        door.recv(1)


@app.function(idempotent=True, keep_warm="1m", network=True)
def again(port: int, text: str) -> str:
    leave_mark(port, text)
    return text.upper()


@app.function(keep_warm="1m", network=True)
def once(port: int, text: str) -> str:
    leave_mark(port, text)
    return text.upper()


@app.model()
class Mixed:
    def setup(self) -> None:
        self.pid = os.getpid()

    @glowplug.endpoint(idempotent=True)
    def safe(self, text: str) -> str:
        return text

    @glowplug.endpoint
    def unsafe(self, text: str) -> str:
        raise ValueError(f"no {text}")
