"""Functions that behave well, and some that do not, for the tests of the whole server."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import glowplug
from glowplug.core.errors import RequestCancelled

app = glowplug.App("gates")


@app.function()
def add(a: int, b: int = 1) -> int:
    return a + b


@app.function(max_queue=1, network=True)
def narrow(port: int) -> int:
    return wait(port)


@app.function(network=True)
def wait(port: int, deaf: bool = False) -> int:
    """Knocks at a test's door, with this process's id as its first line, and answers when the test says so.
    Being `deaf`, it ignores that it was cancelled.

    It always takes so long that nobody is sent to its worker's socket to wait behind it.
    """
    time.sleep(0.06)
    with socket.create_connection(("127.0.0.1", port)) as door:
        unsaid = [f"{os.getpid()}\n".encode()]
        while True:
            try:  # from before anybody can know that it is there to be cancelled
                while unsaid:
                    door.sendall(unsaid.pop())
                door.recv(1)
                return os.getpid()
            except RequestCancelled:
                if not deaf:
                    door.sendall(b"cancelled\n")
                    raise


@app.function()
def misbehave(how: str) -> str:
    if how == "raise":
        raise ValueError("the cat sat on the keyboard")
    if how == "exit":
        sys.exit(3)
    if how == "_exit":
        os._exit(7)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "unwritable":
        return object()  # type: ignore[return-value]
    return "well"


@app.function()
def chatter(lines: int) -> int:
    """Prints `lines` of 1,000 characters, a line without an end, and bytes that are no text."""
    for number in range(lines):
        print(f"{number:07d}", "x" * 991)
    sys.stdout.flush()
    os.write(1, b"\xff" * 200_000 + b"\n" + (b"\xfe" * 8000 + b"\n") * 50)
    print("the end", flush=True)
    return lines


@app.function(env={"COLOUR": "green"})
def variable(name: str) -> str | None:
    return os.environ.get(name)


@app.model()
class Threaded:
    """Leaves a thread behind, so its process must not fork."""

    def setup(self) -> None:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        self.ready = True

    @glowplug.endpoint
    def double(self, number: int) -> int:
        assert self.ready
        return number * 2


@app.function()
def offspring(die: bool) -> int:
    """Starts a process that nobody waits for."""
    child = subprocess.Popen(["sleep", "1000"])
    if die:
        print(child.pid, flush=True)
        os._exit(1)
    return child.pid
