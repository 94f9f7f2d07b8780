"""One controller: a live run's journal, replayed, gives the same commands, and so does virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.bench.harness import running_server
from glowplug.client import Client
from glowplug.control.journal import read_segment
from glowplug.control.journal_files import replay, segment_paths
from glowplug.control.state import ControlState
from glowplug.core.commands import ClearTimer, Command, SetTimer
from glowplug.core.events import Built, Deployed, Event, NodeJoined, ScaleRequested, StepReached
from glowplug.core.ids import FunctionId
from glowplug.core.ladder import Step
from glowplug.sim.gateway import Ask
from glowplug.sim.profile import Profile
from glowplug.sim.simulation import Simulation

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

SHOUT = FunctionId("shout.default")
SOURCE = """
import glowplug
app = glowplug.App("plain")

@app.function(keep_warm="1h")
def shout(text: str) -> str:
    return text.upper()
"""


def test_a_live_run_its_replay_and_its_simulation_command_the_same(tmp_path: Path) -> None:
    source = tmp_path / "plain_app.py"
    source.write_text(SOURCE)
    with running_server([source], tmp_path / "state") as server, Client(server.url) as client:
        server.wait_deployed(1)
        for text in ("a", "b", "c"):
            assert client.invoke("shout", {"text": text}) == text.upper()
        client.descend("shout", "staged")
        assert client.invoke("shout", {"text": "d"}) == "D"
        client.scale("shout", 0)
        asked = [(trace.started_s, Ask(SHOUT)) for trace in client.traces()]
    journal = tmp_path / "state" / "journal"
    report = replay(journal)
    assert (report.mismatches, report.torn_bytes) == ([], 0)

    events, live = handled_again(journal)
    simulated = simulate(events, asked)
    assert kinds(simulated) == kinds(live)


def handled_again(journal: Path) -> tuple[list[tuple[float, Event]], list[Command]]:
    """The journal's events, and the commands that they give."""
    events, commands = [], []
    for path in segment_paths(journal):
        snapshot, entries = read_segment(path.read_bytes())
        assert snapshot is not None
        state = ControlState.from_snapshot(snapshot)
        for entry in entries:
            events.append((entry.now_s, entry.event))
            commands += state.handle(entry.event, entry.now_s)
    return events, commands


def simulate(events: list[tuple[float, Event]], asked: list[tuple[float, Ask]]) -> list[Command]:
    """What happened to the live system from outside, in virtual time, with the costs that it measured."""
    outside = (NodeJoined, Deployed, ScaleRequested)
    start_s = events[0][0]
    scenario: list[tuple[float, Event | Ask]] = [
        (at_s - start_s, event)
        for at_s, event in events
        if isinstance(event, outside) or type(event).__name__ in ("DescendRequested", "ClimbRequested")
    ]
    scenario += [(at_s - start_s, ask) for at_s, ask in asked]
    end_s = events[-1][0] - start_s
    return [command for _, command in Simulation({SHOUT: profile(events)}).run(scenario, end_s).commands]


def profile(events: list[tuple[float, Event]]) -> Profile:
    took: dict[tuple[str, Step], float] = {}
    built = None
    for _, event in events:
        if isinstance(event, StepReached):
            took.setdefault((event.target.kind, event.step), event.took_s)
        elif isinstance(event, Built):
            built = event
    assert built is not None
    climb_s = took["instance", Step.PARKED]
    return Profile(
        environment_s=took["environment", Step.IMPORTED], build_s=built.took_s, facts=built.facts,
        stage_s=took.get(("version", Step.STAGED), 0.02), imported_s=climb_s, staged_s=climb_s, run_s=0.0005,
    )  # fmt: skip


def kinds(commands: list[Command]) -> list[str]:
    """Commands in order, by what they do to what; not when, and not by which number."""
    told = []
    for command in commands:
        if not isinstance(command, (SetTimer, ClearTimer)):
            target = getattr(command, "target", None)
            step = getattr(command, "step", None)
            what = f"{target.kind} {step.label}" if target is not None and step is not None else ""
            told.append(f"{type(command).__name__} {what}".strip())
    return told
