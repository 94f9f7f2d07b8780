"""A neighbour takes the machine's memory, as far as the server can see: idle workers go, and come back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glowplug.control.journal_files import replay
from tests.e2e.conftest import Server, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

MB = 10**6
TOTAL_BYTES = 20_000 * MB
MARGIN_BYTES = TOTAL_BYTES // 20
GRANTED_BYTES = 3000 * MB
HELD_BYTES = 300 * MB
SOURCE = f"""
import glowplug
app = glowplug.App("neighbours")


class Held:
    def setup(self):
        self.held = b"x" * {HELD_BYTES}

    @glowplug.endpoint
    def answer(self) -> int:
        return len(self.held)


@app.model(memory="900MB", keep_warm="1h")
class First(Held):
    pass


@app.model(memory="900MB", keep_warm="1h")
class Second(Held):
    pass


@app.model(memory="900MB", keep_warm="1h", min_workers=1)
class Kept(Held):
    pass
"""


class Machine:
    """The files that say what is available."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc").mkdir(parents=True)
        self.leave(TOTAL_BYTES)

    def leave(self, available_bytes: int) -> None:
        fresh = self.root / "proc" / "new"
        fresh.write_text(f"MemTotal: {TOTAL_BYTES // 1024} kB\nMemAvailable: {available_bytes // 1024} kB\n")
        fresh.rename(self.root / "proc" / "meminfo")


@pytest.fixture
def machine(folder: Path) -> Machine:
    return Machine(folder / "machine")


@pytest.fixture
def beside(folder: Path, machine: Machine) -> Iterator[Server]:
    options = ["--files-root", str(machine.root), "--memory", str(GRANTED_BYTES)]
    with serving(folder, options=options) as server:
        server.deploy(server.write(SOURCE))
        yield server


def node(server: Server) -> Any:
    (found,) = server.client.info()["nodes"]
    return found


def parked(server: Server, name: str) -> bool:
    return server.client.describe(name).step == "parked"


def test_idle_workers_make_way_for_a_neighbour_and_come_back(
    beside: Server, machine: Machine, folder: Path
) -> None:
    for name in ("first", "second"):
        assert beside.post(name).json() == HELD_BYTES
    until(
        lambda: parked(beside, "first") and parked(beside, "second") and parked(beside, "kept"), "all parked"
    )
    until(lambda: node(beside)["reserved_bytes"] >= 3 * HELD_BYTES, "what they hold is measured")
    before = node(beside)
    assert before["budget_bytes"] == before["granted_bytes"] == GRANTED_BYTES

    machine.leave(MARGIN_BYTES - HELD_BYTES)
    left_bytes = before["reserved_bytes"] - HELD_BYTES * 3 // 2
    until(lambda: node(beside)["reserved_bytes"] <= left_bytes, "two of three went")
    assert not (parked(beside, "first") and parked(beside, "second"))
    assert node(beside)["budget_bytes"] < GRANTED_BYTES
    # Here nobody counts what went: as long as so much is lacking, more goes.
    machine.leave(MARGIN_BYTES + HELD_BYTES // 10)
    assert beside.post("first").json() == HELD_BYTES, "who is called is served in what is left"
    shown = subprocess.run(
        [sys.executable, "-m", "glowplug", "ps", "--steps", "--url", beside.url],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "others on the machine need the rest of its 3.0 GB" in " ".join(shown.stdout.split())
    assert 'glowplug_granted_bytes{node="local"} 3000000000' in beside.http.get("/metrics").text

    machine.leave(TOTAL_BYTES)
    until(lambda: node(beside)["budget_bytes"] == GRANTED_BYTES, "the neighbour has gone")
    until(lambda: parked(beside, "kept"), "what is always to be there is there")
    assert beside.post("second").json() == HELD_BYTES
    assert not replay(folder / "state" / "journal").mismatches


def test_a_budget_beyond_the_machine_is_told_in_the_greeting(folder: Path, machine: Machine) -> None:
    words = [sys.executable, "-m", "glowplug", "serve", "--port", "0", "--memory", "100TB"]
    words += ["--files-root", str(machine.root), "--state-dir", str(folder / "state")]
    server = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
    )
    try:
        assert server.stdout is not None
        greeting = ""
        while "Ctrl-C" not in greeting:
            line = server.stdout.readline()
            assert line, "it ended"
            greeting += line
    finally:
        server.terminate()
        _, logged = server.communicate(timeout=120)
    assert "that is more than the 20.0 GB that this machine, or its control group, has" in greeting
    assert "the memory budget is more than there is" in logged
