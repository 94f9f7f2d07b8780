"""What the experiments say that a model holds, step by step, where models share their libraries."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glowplug.bench.harness import RunningServer, running_server
from glowplug.bench.models import BenchModel
from glowplug.bench.systems import Held, live
from glowplug.bench.systems.live import HttpCaller, LiveSystem
from glowplug.bench.systems.processes import descendants, named
from glowplug.loader.pagecache import evict_page_cache, page_cache_bytes

pytestmark = [pytest.mark.e2e, pytest.mark.torch, pytest.mark.xdist_group("e2e")]
pytest.importorskip("torch", reason="pip install 'glowplug[torch]'")

MIB = 2**20
SLACK_BYTES = 16 * MIB
SOURCE = """
import torch
import glowplug
app = glowplug.App("held")

class Model:
    def build(self):
        return torch.nn.Linear(1024, 2048, bias=False)

    def setup(self):
        self.ballast = bytearray(b"1") * (32 << 20)

    @glowplug.endpoint
    def answer(self, value: float) -> float:
        return float(self.model(torch.full((1, 1024), value)).sum())

for name in ("First", "Second"):
    made = type(name, (Model,), {"__module__": __name__})
    weights = lambda: {"weight": torch.ones(2048, 1024)}
    globals()[name] = app.model(libraries=["torch"], weights=weights)(made)
"""
FIRST, SECOND = (BenchModel(name, "", name, "answer", "value", "tokens") for name in ("first", "second"))


@pytest.fixture
def server(folder: Path) -> Iterator[RunningServer]:
    source = folder / "held_app.py"
    source.write_text(SOURCE)
    with running_server([source], folder / "state") as server:
        server.wait_deployed(2)
        yield server


def keeps_pages(folder: Path) -> bool:
    """Whether this file system cannot drop a file's pages, as tmpfs cannot."""
    path = folder / "dropped"
    path.write_bytes(bytes(MIB))
    evict_page_cache(path)
    return page_cache_bytes(path) > 0


def wait_for_reserve(agent_pid: int) -> None:
    """An environment that begins now begins in the interpreter that waits for it."""
    deadline_s = time.monotonic() + 60
    while not named("glowplug-standby", descendants(agent_pid)):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_each_step_holds_what_was_made_for_it(server: RunningServer, folder: Path) -> None:
    with contextlib.closing(LiveSystem(server, warm_repeats=1)) as system:
        check_steps(system, folder, server.agent_pid)


def check_steps(system: LiveSystem, folder: Path, agent_pid: int) -> None:
    held: dict[str, Held] = {}
    for step in ("local", "imported", "staged", "parked"):
        wait_for_reserve(agent_pid)
        measured = system.measure(FIRST, 1.0, step, "warm")
        assert measured.answer == 1024.0 * 2048
        held[step] = measured.held
        assert 8 * MIB <= measured.held.weights_bytes < 9 * MIB
    assert (held["local"].environment_bytes, held["local"].own_bytes) == (0, 0)
    assert held["imported"].environment_bytes > 30 * MIB
    assert held["imported"].own_bytes == 0
    assert 32 * MIB <= held["staged"].own_bytes < held["parked"].own_bytes < 32 * MIB + SLACK_BYTES
    # The first one is parked in the environment of the second, and must not count for it.
    assert system.measure(SECOND, 1.0, "imported", "warm").held.own_bytes == 0
    cold = system.measure(SECOND, 1.0, "staged", "cold").held
    assert 32 * MIB <= cold.own_bytes < 32 * MIB + SLACK_BYTES
    assert keeps_pages(folder) or cold.weights_bytes < 1 * MIB


@pytest.mark.parametrize("step", ["local", "imported", "staged", "parked"])
def test_warm_requests_are_asked_when_nothing_climbs_beside_them(
    server: RunningServer, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    class Watching(HttpCaller):
        """Looks what the function holds whenever it is asked."""

        def ask(self, path: str, content_type: str, body: bytes) -> tuple[Any, float, dict[str, float]]:
            seen.append({each.step for each in server.functions()[FIRST.function].held})
            return super().ask(path, content_type, body)

    monkeypatch.setattr(live, "HttpCaller", Watching)
    with contextlib.closing(LiveSystem(server, warm_repeats=2)) as system:
        system.measure(FIRST, 1.0, step, "warm")
    cold, *warm = seen
    assert len(warm) == 2
    assert "climbing" not in cold
    assert all("staged" in steps and "climbing" not in steps for steps in warm)
