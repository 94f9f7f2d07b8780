"""Loading ahead on a real server: a function that is called regularly is there before its call."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glowplug.control.journal_files import replay
from tests.e2e.conftest import Server, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

PERIOD_S = 3.0
CALLS = 30
"""Two gaps teach a period; the rest is for a machine that has much else to do."""
SOURCE = """
import os
import glowplug
app = glowplug.App("ahead")

@app.model(prewarm="fixed", keep_warm="200ms")
class Timer:
    def setup(self):
        self.made_by = os.getpid()

    @glowplug.endpoint
    def answer(self) -> int:
        return self.made_by
"""


@pytest.fixture
def ahead(folder: Path) -> Iterator[Server]:
    with serving(folder, options=["--preload", "ladder", "--preload-horizon", "1s"]) as server:
        server.deploy(server.write(SOURCE))
        yield server


def preloads(server: Server) -> Any:
    return server.client.info()["preload"]


def stepped_down(server: Server) -> bool:
    return server.client.describe("timer").step not in ("parked", "busy")


def test_a_function_called_regularly_is_loaded_before_its_next_call(ahead: Server, folder: Path) -> None:
    """It steps down right after each call, and a model that its `setup` makes is there at the next."""
    assert preloads(ahead)["started"] == 0
    due_s = time.monotonic()
    origins = []
    for _ in range(CALLS):
        until(lambda at_s=due_s: time.monotonic() >= at_s, "the time of the call")
        response = ahead.post("timer")
        assert response.status_code == 200
        origins.append(response.headers.get("x-glowplug-origin"))
        until(lambda: stepped_down(ahead), "it stepped down after its call")
        found = preloads(ahead)
        if origins[-1] == "parked" and found["used"]:
            break
        while due_s <= time.monotonic():  # a machine that is late skips a time, and goes on in its step
            due_s += PERIOD_S
    assert "parked" not in origins[:2], "nothing was known yet"
    assert origins[-1] == "parked", f"no call found it loaded: {origins}, {found}"
    assert found["started"] >= found["used"] >= 1
    assert found["failed"] == 0
    until(lambda: preloads(ahead)["unused"], "it is there before the next call")
    done = subprocess.run(
        [sys.executable, "-m", "glowplug", "ps", "--steps", "--url", ahead.url],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "1 not used yet" in done.stdout
    report = replay(folder / "state" / "journal")
    assert not report.mismatches
