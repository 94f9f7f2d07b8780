"""Calls of `.map` beside each other: their threads, and a process that is interrupted while they wait."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from glowplug.client.beside import Beside

PATIENCE_S, AGAIN_S = 180.0, 5.0
MAP = """
import sys
from glowplug.client import Client
with Client(sys.argv[1]) as client:
    for answer in client.map("echo", [{}] * 4, concurrency=2):
        print(answer)
"""


def test_an_interrupted_map_waits_for_nobody() -> None:
    """The server never answers, and the process ends all the same."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        command = [sys.executable, "-c", MAP, f"http://127.0.0.1:{server.getsockname()[1]}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                asked = [server.accept()[0] for _ in range(2)]
                for each in asked:
                    assert each.recv(100).startswith(b"POST /function/echo.default ")
                said = interrupted(process)
            finally:
                process.kill()
        for each in asked:
            each.close()
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT


def interrupted(process: subprocess.Popen[str]) -> str:
    """What it says at its end. As at a keyboard: a signal may come just before the main thread waits, or to
    another thread, and then it is not noticed until there is another."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=AGAIN_S)[1]
        except subprocess.TimeoutExpired:
            assert time.monotonic() < deadline_s, "it waits for the server"


def test_no_more_run_than_may_and_what_is_given_up_does_not_begin() -> None:
    beside, go, ran = Beside(2, "tested"), threading.Event(), threading.Barrier(3)

    def call() -> str:
        ran.wait(60)
        assert go.wait(60)
        return threading.current_thread().name

    futures = [beside.submit(call) for _ in range(5)]
    ran.wait(60)
    assert [future.running() for future in futures] == [True, True, False, False, False]
    assert all(future.cancel() for future in futures[2:])
    beside.close()
    go.set()
    assert {future.result(60) for future in futures[:2]} == {"tested_1", "tested_2"}


def test_an_error_is_its_callers() -> None:
    beside = Beside(1, "tested")
    failed, fine = beside.submit(lambda: 1 // 0), beside.submit(lambda: "next")
    with pytest.raises(ZeroDivisionError):
        failed.result(60)
    assert fine.result(60) == "next"
    beside.close()
