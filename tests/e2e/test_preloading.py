"""A function that is called at a regular time is there before its next call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from glowplug.bench.harness import RunningServer, running_server
from tests.e2e.conftest import until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

APP = """
import time
import glowplug
app = glowplug.App("timers")

@app.model(keep_warm="1s", prewarm="none")
class Timer:
    def setup(self):
        self.loaded_s = time.monotonic()

    @glowplug.endpoint
    def loaded(self) -> float:
        return self.loaded_s

@app.model(preload="always", keep_warm="1s")
class Always:
    def setup(self):
        self.value = 1

    @glowplug.endpoint
    def answer(self) -> int:
        return self.value
"""
PERIOD_S = 3.0


@pytest.fixture
def server(folder: Path) -> Iterator[RunningServer]:
    source = folder / "timers.py"
    source.write_text(APP)
    with running_server([source], folder / "state", options=("--preload", "ladder")) as running:
        running.wait_deployed(2)
        yield running


def preloads(server: RunningServer) -> dict[str, float]:
    found = httpx.get(f"{server.url}/system/info").json()["preload"]
    assert found["policy"] == "ladder"
    return dict(found)


def test_it_is_loaded_ahead_of_its_next_call(server: RunningServer) -> None:
    from glowplug.client import Client

    with Client(server.url) as client:
        until(lambda: client.describe("always").step == "parked", "always is loaded without a call")
        before = preloads(server)["started"]
        for _ in range(3):
            called_s = time.monotonic()
            client.invoke("timer/loaded")
            until(lambda: time.monotonic() >= called_s + PERIOD_S, "its period")  # noqa: B023
        until(lambda: preloads(server)["started"] > before, "it is loaded ahead")
        until(lambda: client.describe("timer").step == "parked", "it is there")
        assert any(instance.preloaded for instance in client.describe("timer").instances)
        asked_s = time.monotonic()
        assert client.invoke("timer/loaded") < asked_s, "it was loaded after it was asked for"
        until(lambda: preloads(server)["used"] >= 1, "the use is counted")
        metrics = httpx.get(f"{server.url}/metrics").text
    assert "glowplug_preload_used_total" in metrics
