"""A live run again, in virtual time: its own arrivals, what everything took there, the same controller."""

from __future__ import annotations

import shutil
import statistics
from collections import defaultdict
from pathlib import Path

import msgspec

from glowplug.control.journal import read_segment
from glowplug.control.journal_files import segment_paths
from glowplug.control.state import ControlState
from glowplug.core.commands import Climb, Command, Descend
from glowplug.core.events import (
    Built,
    ClimbRequested,
    Deployed,
    DescendRequested,
    Event,
    NodeJoined,
    RequestArrived,
    RequestDone,
    RequestStarted,
    ScaleRequested,
    StepLost,
    StepReached,
)
from glowplug.core.ids import CommandId, FunctionId, RequestId
from glowplug.core.ladder import Step
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts
from glowplug.sim.gateway import Answer, Ask
from glowplug.sim.profile import Profile
from glowplug.sim.simulation import Simulation

OUTSIDE = (NodeJoined, Deployed, ScaleRequested, ClimbRequested, DescendRequested)
_SETTLE_S = 600.0


class LiveRun(msgspec.Struct):
    """A journal handled again: its events with their times, and the commands that each led to."""

    settings: ControlSettings
    steps: list[tuple[float, Event, list[Command]]]

    @property
    def events(self) -> list[tuple[float, Event]]:
        return [(at_s, event) for at_s, event, _ in self.steps]

    @property
    def commands(self) -> list[tuple[float, Command]]:
        return [(at_s, command) for at_s, _, commands in self.steps for command in commands]

    @property
    def loads(self) -> int:
        """Models that reached a device."""
        return sum(isinstance(e, StepReached) and e.target.kind == "instance" for _, e in self.events)


def read_run(journal: Path) -> LiveRun:
    """Raises ValueError when a segment is torn at its beginning, or the first is not there any more."""
    run: LiveRun | None = None
    for path in segment_paths(journal):
        snapshot, entries = read_segment(path.read_bytes())
        if snapshot is None:
            raise ValueError(f"{path} is not whole")
        state = ControlState.from_snapshot(snapshot)
        if run is None:
            if state.nodes:
                raise ValueError(f"{path}: the journal's beginning is not kept any more")
            run = LiveRun(state.context.settings, [])
        for entry in entries:
            run.steps.append((entry.now_s, entry.event, state.handle(entry.event, entry.now_s)))
    if run is None:
        raise ValueError(f"there is no journal in {journal}")
    return run


def take_journal(state: Path) -> LiveRun:
    """Of a server that has ended; the next one there begins its own."""
    run = read_run(state / "journal")
    shutil.rmtree(state / "journal")
    return run


def simulate(run: LiveRun) -> list[Answer]:
    """The answers of the same requests at the same moments, by the means of what was measured of each
    function. Times are those of the simulation."""
    start_s = run.events[0][0]
    scenario: list[tuple[float, Event | Ask]] = []
    for at_s, event in run.events:
        if isinstance(event, OUTSIDE):
            scenario.append((at_s - start_s, event))
        elif isinstance(event, RequestArrived):
            ask = Ask(event.function, event.deadline_s - at_s, event.priority)
            scenario.append((at_s - start_s, ask))
    simulation = Simulation(profiles(run), run.settings, keep_log=False)
    return simulation.run(scenario, scenario[-1][0] + _SETTLE_S).answers


def profiles(run: LiveRun) -> dict[FunctionId, Profile]:
    """What everything took, on average, of each function. A request's run is from when it was sent to its
    worker until the controller heard of its answer: for so long its device did nothing else."""
    facts, functions = built(run)
    took = durations(run)
    return {function: _profile(function, facts[function], took) for function in functions}


def durations(run: LiveRun) -> dict[tuple[FunctionId, str], list[float]]:
    """Seconds of every run, climb and descent, by function and by move in the words of Profile."""
    took: defaultdict[tuple[FunctionId, str], list[float]] = defaultdict(list)
    asked: dict[RequestId, FunctionId] = {}
    began_s: dict[RequestId, float] = {}
    moves = _moves(run)
    descents = {command.id: at_s for at_s, command in run.commands if isinstance(command, Descend)}
    of_instance: dict[str, FunctionId] = {}
    for at_s, event in run.events:
        if isinstance(event, RequestArrived):
            asked[event.request] = event.function
        elif isinstance(event, RequestStarted):
            began_s[event.request] = at_s
        elif isinstance(event, RequestDone) and event.ok and event.request in began_s:
            took[asked[event.request], "run"].append(at_s - began_s[event.request])
        elif isinstance(event, StepReached) and event.command in moves:
            function, move = moves[event.command]
            took[function, move].append(event.took_s)
            of_instance[event.target.key] = function
        elif isinstance(event, StepLost) and event.command in descents and event.target.key in of_instance:
            took[of_instance[event.target.key], "descend"].append(at_s - descents[event.command])
    return took


def _profile(
    function: FunctionId, facts: BundleFacts, took: dict[tuple[FunctionId, str], list[float]]
) -> Profile:
    def mean(move: str, otherwise: float) -> float:
        found = took.get((function, move))
        return statistics.mean(found) if found else otherwise

    imported_s = mean("imported", mean("staged", Profile().imported_s))
    return Profile(
        environment_s=mean("environment", Profile().environment_s),
        stage_s=mean("stage", Profile().stage_s),
        imported_s=imported_s,
        staged_s=mean("staged", imported_s),
        run_s=mean("run", Profile().run_s),
        descend_s=mean("descend", Profile().descend_s),
        facts=facts,
    )


def built(run: LiveRun) -> tuple[dict[FunctionId, BundleFacts], dict[FunctionId, None]]:
    """(what is known of each function's newest version, the functions)."""
    by_version = {event.version: event.facts for _, event in run.events if isinstance(event, Built)}
    facts: dict[FunctionId, BundleFacts] = {}
    for _, event in run.events:
        if isinstance(event, Deployed):
            facts[event.spec.function] = by_version.get(event.spec.version) or event.facts or BundleFacts()
    return facts, dict.fromkeys(facts)


def _moves(run: LiveRun) -> dict[CommandId, tuple[FunctionId, str]]:
    """What each climb was, in the words of Profile."""
    found = {}
    for _, command in run.commands:
        if isinstance(command, Climb):
            kind = command.target.kind
            staged = command.origin >= Step.STAGED or (command.cached and command.device is not None)
            move = {"environment": "environment", "version": "stage"}.get(
                kind, "staged" if staged else "imported"
            )
            found[command.id] = command.spec.function, move
    return found
