from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.control.journal_files import JournalWriter, replay
from glowplug.control.state import ControlState
from glowplug.core.commands import AdmitGang, ClearTimer, Command, SetTimer
from glowplug.core.events import Deployed, Event, NodeJoined, ScaleRequested
from glowplug.core.ids import EnvironmentId, FunctionId, VersionId
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, Declaration, FunctionSpec, NodeSpec, PartFacts
from glowplug.sim.gateway import Ask
from glowplug.sim.profile import Profile
from glowplug.sim.simulation import SimResult, Simulation

F, G = FunctionId("f.default"), FunctionId("g.default")
PROFILES = {F: Profile(), G: Profile(run_s=0.1)}


def spec(function: FunctionId) -> FunctionSpec:
    name = function.partition(".")[0]
    return FunctionSpec(
        function=function,
        version=VersionId(f"{name}-v1"),
        namespace="default",
        environment=EnvironmentId("e"),
        upload="u",
        declaration=Declaration(name=name, kind="model", module="m", qualname="M", keep_warm_s=5.0),
    )


def scenario() -> list[tuple[float, Event | Ask]]:
    asks: list[tuple[float, Event | Ask]] = [(6.0 + n, Ask(F if n % 3 else G)) for n in range(12)]
    return [
        (0.0, NodeJoined(NodeSpec("n", 4 * 10**9, 2))),
        (0.0, Deployed(spec(F))),
        (0.5, Deployed(spec(G), PROFILES[G].facts)),
        *asks,
        (30.0, Ask(F)),
        (40.0, ScaleRequested(G, 1)),
        (50.0, Ask(G)),
    ]


def run(seed: int = 0, jitter: float = 0.0) -> tuple[Simulation, SimResult]:
    profiles = {
        F: Profile(jitter=jitter),
        G: Profile(jitter=jitter, run_s=0.1),
    }
    simulation = Simulation(profiles, ControlSettings(), seed=seed)
    return simulation, simulation.run(scenario(), until_s=80.0)


def names(commands: list[tuple[float, Command]]) -> list[str]:
    return [
        f"{type(c).__name__} {getattr(c, 'target', '')}"
        for _, c in commands
        if not isinstance(c, (SetTimer, ClearTimer))
    ]


def test_every_request_is_answered_and_the_state_is_whole() -> None:
    simulation, result = run()
    simulation.state.validate()
    assert [a.code for a in result.answers] == ["ok"] * 14
    assert simulation.state.context.store.requests == {}


def test_latencies_are_what_the_ladder_promises() -> None:
    _, result = run()
    by_time = sorted(result.answers, key=lambda a: a.asked_s)
    first_g, first_f, second_f = by_time[0], by_time[1], by_time[2]
    profile = PROFILES[F]
    assert abs(first_f.latency_s - (profile.imported_s + profile.run_s)) < 1e-6
    assert abs(first_g.latency_s - (profile.imported_s + 0.1)) < 1e-6
    assert second_f.leased
    assert abs(second_f.latency_s - profile.run_s) < 1e-6
    after_zero = next(a for a in by_time if a.asked_s == 30.0)
    assert abs(after_zero.latency_s - (profile.staged_s + profile.run_s)) < 1e-6, "from its zygote"


def test_the_same_seed_is_the_same_run() -> None:
    once, again, other = run(1, 0.2)[1], run(1, 0.2)[1], run(2, 0.2)[1]
    assert once.commands == again.commands
    assert once.answers != other.answers


def test_jitter_does_not_change_what_is_decided() -> None:
    assert names(run(0, 0.0)[1].commands) == names(run(3, 0.05)[1].commands)


def test_a_journal_of_a_scenario_gives_the_simulations_commands(tmp_path: Path) -> None:
    _, result = run()
    writer = JournalWriter(tmp_path)
    state = ControlState(ControlSettings())
    writer.begin(state.snapshot())
    live: list[tuple[float, Command]] = []
    for now_s, event in result.events:
        commands = state.handle(event, now_s)
        writer.append(now_s, event, commands)
        live.extend((now_s, command) for command in commands)
    writer.close()
    assert live == result.commands
    report = replay(tmp_path)
    assert (report.events, report.mismatches) == (len(result.events), [])


def test_a_scenario_can_go_on() -> None:
    simulation, result = run()
    count = len(result.answers)
    simulation.run([(90.0, Ask(F))], until_s=100.0)
    assert len(result.answers) == count + 1


def ask_and_wait(simulation: Simulation, result: SimResult) -> None:
    count, now_s = len(result.answers), simulation.agenda.now_s
    simulation.run([(now_s, Ask(F))], now_s)
    simulation.run_until(lambda _: len(result.answers) > count, limit_s=10.0)


def test_who_waits_for_each_answer_is_served_the_same_way_whatever_it_takes() -> None:
    told = []
    for profile in (Profile(), Profile(imported_s=4.0, run_s=3.0)):
        simulation = Simulation({F: profile})
        result = simulation.run(scenario()[:2], until_s=6.0)
        for _ in range(3):
            ask_and_wait(simulation, result)
        assert [answer.leased for answer in result.answers] == [False, True, True]
        told.append(names(result.commands))
    assert told[0] == told[1]


def test_waiting_in_vain_ends() -> None:
    simulation = Simulation(PROFILES)
    with pytest.raises(TimeoutError, match="7 virtual seconds"):
        simulation.run_until(lambda state: bool(state.nodes), limit_s=7.0)
    simulation.run_until(lambda state: not state.nodes, limit_s=0.0)


def test_gangs_run_in_virtual_time_as_live() -> None:
    """Two models over three workers each, of which the machine holds one at a time."""
    mb = 10**6
    facts = BundleFacts(
        weight_bytes=300 * mb, staged_bytes=10 * mb, parked_bytes=50 * mb, peak_bytes=50 * mb,
        parts=(PartFacts("one", 300 * mb), PartFacts("two", 500 * mb)),
    )  # fmt: skip
    profile = Profile(facts=facts, read_bytes_per_s=1000.0 * mb)
    simulation = Simulation({F: profile, G: profile}, ControlSettings(), seed=0)
    asks: list[tuple[float, Event | Ask]] = [(5.0 + n, Ask(F if n % 2 else G)) for n in range(10)]
    deployed = [(0.0, Deployed(spec(each), facts)) for each in (F, G)]
    result = simulation.run([(0.0, NodeJoined(NodeSpec("n", 2000 * mb, 2))), *deployed, *asks], until_s=60.0)
    assert [answer.code for answer in result.answers] == ["ok"] * 10
    slowest_s = profile.environment_s + profile.imported_s + 0.5
    assert result.answers[0].latency_s == pytest.approx(slowest_s + profile.run_s)
    admitted = [command for _, command in result.commands if isinstance(command, AdmitGang)]
    assert len(admitted) > 2
    assert {command.workers for command in admitted} == {3}
