"""One controller: a live run's journal, replayed, gives the same commands, and so does virtual time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from pathlib import Path

import pytest

from glowplug.bench.harness import running_server
from glowplug.client import Client
from glowplug.control.journal import read_segment
from glowplug.control.journal_files import replay, segment_paths
from glowplug.control.state import ControlState
from glowplug.control.status import function_status
from glowplug.core.commands import ClearTimer, Climb, Command, SetTimer
from glowplug.core.events import (
    Built,
    ClimbRequested,
    Deployed,
    DescendRequested,
    Event,
    NodeJoined,
    RequestDone,
    ScaleRequested,
    StepReached,
)
from glowplug.core.ids import FunctionId
from glowplug.core.status import FunctionStatus
from glowplug.sim.gateway import Ask
from glowplug.sim.profile import Profile
from glowplug.sim.simulation import SimResult, Simulation
from tests.e2e.conftest import until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

OUTSIDE = (NodeJoined, Deployed, ScaleRequested, ClimbRequested, DescendRequested)
INSTANT = Profile(
    environment_s=0.0, build_s=0.0, stage_s=0.0, imported_s=0.0, staged_s=0.0, run_s=0.0, descend_s=0.0
)
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
        acts: list[Callable[[], object]] = [
            *(partial(shouted, client, text) for text in ("a", "b", "c")),
            partial(client.descend, "shout", "staged"),
            partial(shouted, client, "d"),
            partial(client.scale, "shout", 0),
        ]
        for act in acts:
            act()
            until(lambda: at_rest(client.describe("shout")), "all that was asked for is done")
        asked = [(trace.started_s, Ask(SHOUT)) for trace in client.traces()]
    journal = tmp_path / "state" / "journal"
    report = replay(journal)
    assert (report.mismatches, report.torn_bytes) == ([], 0)

    events, live = handled_again(journal)
    assert len(asked) == 4
    assert kinds(live).count("Dispatch") == 2, "the others went under a lease"
    assert kinds(live).count("Descend instance staged") == 2
    for profile in (measured(events), INSTANT, Profile()):
        assert kinds(simulate(events, asked, profile)) == kinds(live)


def shouted(client: Client, text: str) -> None:
    assert client.invoke("shout", {"text": text}) == text.upper()


def at_rest(found: FunctionStatus | None) -> bool:
    """Nothing waits, runs, climbs or descends. A worker's answer may overtake the news of its climb, and a
    report of what was done under a lease comes later: what is asked for before is decided by who was first.
    """
    return found is None or (
        found.state == "ready"
        and not found.queued
        and not found.in_flight
        and all(instance.step == "parked" for instance in found.instances)
    )


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


def simulate(
    events: list[tuple[float, Event]], asked: list[tuple[float, Ask]], profile: Profile
) -> list[Command]:
    """What was done to the live system from outside, in virtual time: each act when it was done there, or as
    soon as all before it was answered and is done, whichever is later."""
    scenario: list[tuple[float, Event | Ask]] = [each for each in events if isinstance(each[1], OUTSIDE)]
    simulation = Simulation({SHOUT: profile})
    result = simulation.run([], 0.0)
    start_s, answers = events[0][0], 0
    for at_s, act in sorted([*scenario, *asked], key=itemgetter(0)):
        now_s = max(at_s - start_s, simulation.agenda.now_s)
        simulation.run([(now_s, act)], now_s)
        answers += isinstance(act, Ask)
        simulation.run_until(partial(is_done, act, result, answers), limit_s=600.0)
    return [command for _, command in result.commands]


def is_done(act: Event | Ask, result: SimResult, answers: int, state: ControlState) -> bool:
    """As the live server's answer to `act` says it, and at rest."""
    moved = not isinstance(act, (ClimbRequested, DescendRequested)) or state.standing(SHOUT) == act.step
    return moved and len(result.answers) == answers and at_rest(function_status(state, SHOUT))


def measured(events: list[tuple[float, Event]]) -> Profile:
    """What everything took in the live run. Its second worker was the one from a zygote."""
    reached = [event for _, event in events if isinstance(event, StepReached)]
    by_kind = {event.target.kind: event.took_s for event in reached}
    imported_s, staged_s = [event.took_s for event in reached if event.target.kind == "instance"]
    built = next(event for _, event in events if isinstance(event, Built))
    done = next(event for _, event in events if isinstance(event, RequestDone))
    return Profile(
        environment_s=by_kind["environment"], build_s=built.took_s, stage_s=by_kind["version"],
        imported_s=imported_s, staged_s=staged_s, run_s=done.took_s, facts=built.facts,
    )  # fmt: skip


def kinds(commands: list[Command]) -> list[str]:
    """Commands in order, by what they do to what, and from where; not when, and not by which number."""
    told = []
    for command in commands:
        if not isinstance(command, (SetTimer, ClearTimer)):
            target = getattr(command, "target", None)
            step = getattr(command, "step", None)
            what = f"{target.kind} {step.label}" if target is not None and step is not None else ""
            origin = f"from {command.origin.label}" if isinstance(command, Climb) else ""
            told.append(" ".join(filter(None, [type(command).__name__, what, origin])))
    return told
