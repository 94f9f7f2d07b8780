"""The live part of `preloading`: its calls, its rows, its claims, and the twin of a run."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

from glowplug.bench.live.load import Outcome
from glowplug.bench.live.times import Measured
from glowplug.bench.live.twin import LiveRun, read_run
from glowplug.bench.preloading import experiment, owners
from glowplug.bench.preloading.gone import gone
from glowplug.bench.preloading.lent import admissions
from glowplug.bench.preloading.live import LiveOptions, calls
from glowplug.bench.preloading.live_rows import POLICIES, claims, seen
from glowplug.bench.preloading.live_rows import simulated as simulated_fields
from glowplug.bench.preloading.twin import profiles, simulate, spread
from glowplug.bench.result import Result
from glowplug.control.state import ControlState
from glowplug.core.commands import Dispatch
from glowplug.core.errors import InvalidWorkload
from glowplug.core.events import Deployed, NodeJoined
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, NodeSpec
from glowplug.sim.gateway import Answer
from glowplug.sim.profile import Profile
from glowplug.sim.simulation import Simulation
from tests.control import ahead
from tests.control.test_explaining import asks, journal, simulated
from tests.control.world import World, spec
from tests.sim.workloads.test_azure2019 import write_day

MB = 10**6
SETTINGS = ControlSettings(eager_stage=False, environment_estimate_bytes=0)
FACTS = BundleFacts(weight_bytes=500 * MB, staged_bytes=40 * MB, parked_bytes=30 * MB, peak_bytes=30 * MB)
ALONE = Measured(run_s=0.1, staged_s=1.1, imported_s=1.1, cold_s=1.1, rested_s=1.1, varies=0.05)
RESTED = msgspec.structs.replace(ALONE, rested_s=4.1)
"""A function that came to memory that nobody had for a while."""


def ran(
    folder: Path,
    budget_bytes: int,
    *called: tuple[float, str],
    settings: ControlSettings = SETTINGS,
    **declared: Any,
) -> tuple[LiveRun, list[Answer]]:
    """A run of functions of 530 MB, and its answers."""
    names = dict.fromkeys(name for _, name in called)
    deployed = [(0.0, Deployed(spec(name, **declared), FACTS)) for name in names]
    node = 0.0, NodeJoined(NodeSpec("n", budget_bytes, 4))
    run = simulated([node, *deployed, *asks(*called)], settings)
    for number, segment in enumerate(journal(run, settings), start=1):
        (folder / f"journal-{number:08d}.gpj").write_bytes(segment)
    return read_run(folder), run.answers


def row(system: str, loading_s: float, again_s: float | None = None, **more: Any) -> dict[str, Any]:
    again_s = loading_s if again_s is None else again_s
    return {
        "system": system, "preload": "none" if system == "fixed" else system, "loading_mean_s": loading_s,
        "simulated_loading_mean_s": again_s, "simulated_varied_s": [again_s] * 6, "warm_p99_s": 0.01,
        "core_share": 0.1, "over_budget": 0, "wrong": 0, "failed": 0, "lent_max_s": 0.02,
        "admission_p95_s": 0.02, **more,
    }  # fmt: skip


def failing(*found: dict[str, Any]) -> list[str]:
    return [each.name for each in claims(list(found)) if not each.holds]


def test_one_is_hot_two_come_each_minute_and_the_others_are_rare(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rates = np.geomspace(12, 0.2, 80)
    rows = {f"o,a,f{n},http": [1, *rng.poisson(rate, 59)] for n, rate in enumerate(rates)}
    options = LiveOptions(trace=str(write_day(tmp_path / "hour.csv", rows)))
    made = calls(options)
    made.validate()
    counts = made.counts().tolist()
    assert made.span_s == 60 * options.minutes
    assert counts[0] > max(counts[1:3]) >= min(counts[1:3]) > max(counts[3:])
    assert min(counts) > 0
    few = msgspec.structs.replace(
        options, trace=str(write_day(tmp_path / "few.csv", {"o,a,f,http": [9] * 60}))
    )
    with pytest.raises(InvalidWorkload, match="too few"):
        calls(few)


def test_what_found_a_worker_waited_for_no_load() -> None:
    outcomes = [
        Outcome("ok", 0.0, 0.9, 200, origin="imported"), Outcome("ok", 1.0, 0.2, 200, origin="parked"),
        Outcome("ok", 2.0, 0.1, 200, origin="parked"), Outcome("failed", 3.0, 5.0, 500, "function_failed"),
    ]  # fmt: skip
    found = seen(outcomes, ["f"] * 4, {"f": ALONE})
    assert found["loading_mean_s"] == pytest.approx(0.8 / 3)
    assert (found["parked_share"], found["failed"], found["wrong"]) == (2 / 3, 1, 0)
    assert found["warm_p99_s"] == 0.2


def test_a_run_of_this_part_alone_is_shown() -> None:
    rows = [{"part": "live", **row(policy, 0.1)} for policy in POLICIES]
    console = Console(record=True, width=200)
    experiment.report(Result("preloading", {}, rows, claims(rows), []), console)
    shown = console.export_text()
    assert all(policy in shown for policy in POLICIES)


def test_claims_compare_policies_and_each_run_with_its_twin() -> None:
    good = [row(policy, seconds) for policy, seconds in zip(POLICIES, (0.3, 0.2, 0.1), strict=True)]
    assert not failing(*good)
    turned = [*good[:2], row("ladder", 0.1, 0.25)]
    assert failing(*turned) == [
        "live: pairs of policies in the order that the simulator predicts, of those that it tells apart",
        "live and simulated: mean loading of ladder apart",
    ]
    bad = {
        "over_budget": 1,
        "wrong": 1,
        "failed": 1,
        "warm_p99_s": 0.02,
        "core_share": 0.2,
        "lent_max_s": 0.06,
    }
    assert len(failing(*good[:2], row("ladder", 0.1, **bad))) == 6


def test_an_order_counts_where_the_simulator_tells_policies_apart() -> None:
    chance = {"simulated_varied_s": [0.284, 0.291] * 3}
    near = [row("fixed", 0.3, 0.29), row("tyche", 0.31, 0.285, **chance), row("ladder", 0.1)]
    assert not failing(*near)
    told = [near[0], row("tyche", 0.31, 0.285), near[2]]
    assert failing(*told) == [
        "live: pairs of policies in the order that the simulator predicts, of those that it tells apart"
    ]
    alike = [row(policy, seconds, 0.3) for policy, seconds in zip(POLICIES, (0.3, 0.301, 0.302), strict=True)]
    assert failing(*alike) == ["live: pairs of policies that the simulator tells apart"]


def test_who_comes_when_memory_is_short_waits_for_what_goes(tmp_path: Path) -> None:
    """Two functions of 500 MB do not fit in 800 MB; that nobody was evicted for the first is no admission."""
    run, answers = ran(tmp_path, 800 * MB, (1.0, "f"), (20.0, "g"), (21.0, "g"))
    (found,) = admissions(run)
    assert found.function == "g.default"
    assert not found.lent
    assert found.wait_s >= 0.0
    assert len(answers) == 3


def retold(world: World) -> LiveRun:
    settings = world.state.context.settings
    state = ControlState(settings)
    return LiveRun(settings, [(at_s, event, state.handle(event, at_s)) for at_s, event in world.events])


def small_world() -> World:
    """A node with room for one worker of `f` or of `g`."""
    world = World(ahead.settings("none", environment_estimate_bytes=100), budget_bytes=1500)
    world.deploy(spec("f", keep_warm_s=1e4), spec("g", keep_warm_s=1e4))
    return world


def test_a_request_that_is_sent_twice_waited_once() -> None:
    world = small_world()
    ahead.serve(world, "g")
    request = world.ask("f")
    while not (climbed := ahead.climbs(world, "f")):
        world.engine.succeed(next(iter(world.engine.pending)))
    world.engine.exit(climbed[0].target)
    world.advance(10.0)
    world.answer(request)
    assert world.outcome(request) == "done"
    run = retold(world)
    assert (
        sum(isinstance(command, Dispatch) and request in command.requests for _, command in run.commands) == 2
    )
    assert [each.function for each in admissions(run)] == ["f.default"]


@pytest.mark.parametrize("leaves", ["at its deadline", "by itself"])
@pytest.mark.parametrize("others", [0, 1])
def test_who_left_waits_no_more(leaves: str, others: int) -> None:
    world = small_world()
    busy = world.ask("g", timeout_s=1000.0)
    world.engine.answer_all()
    first = world.ask("f", timeout_s=5.0)
    world.advance(2.0)
    for _ in range(others):
        world.ask("f", timeout_s=1000.0)
    if leaves == "by itself":
        world.gateway.cancel(first)
    world.advance(98.0)
    assert world.outcome(first) == ("deadline_passed" if leaves == "at its deadline" else "cancelled")
    if not others:
        world.ask("f")
    world.gateway.finish(busy)
    world.engine.answer_all()
    (found,) = admissions(retold(world))
    assert (found.function, found.wait_s) == ("f.default", pytest.approx(98.0 * others))


def test_how_long_a_function_took_to_go(tmp_path: Path) -> None:
    """Of the second nothing was taken."""
    declared = [(0.0, Deployed(spec(name), FACTS)) for name in "fg"]
    node = 0.0, NodeJoined(NodeSpec("n", 800 * MB, 4))
    profile = Profile(environment_s=0.0, environment_bytes=0, descend_s=0.02, let_go_s=0.03, facts=FACTS)
    simulation = Simulation({each.spec.function: profile for _, each in declared}, SETTINGS)
    result = simulation.run([node, *declared, *asks((1.0, "f"), (20.0, "g"))], until_s=60.0)
    (segment,) = journal(result, SETTINGS)
    (tmp_path / "journal-00000001.gpj").write_bytes(segment)
    ((name, found),) = gone(read_run(tmp_path)).items()
    assert name == "f.default"
    assert found.processes_s == pytest.approx([0.02])
    assert found.weights_s == pytest.approx([0.03])


def test_what_was_loaded_ahead_is_lent(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SETTINGS, preload="ladder", eviction="ladder", lends=False)
    regular = [(60.0 + 30.0 * k, "f") for k in range(8)]
    run, _ = ran(
        tmp_path, 800 * MB, *regular, (298.5, "g"), settings=settings, prewarm="fixed", keep_warm_s=1.0
    )
    lent = [each for each in admissions(run) if each.lent]
    assert [each.function for each in lent] == ["g.default"]
    found = owners.back(run)
    assert (found["cases"], found["back_max_s"]) == (1, lent[0].wait_s)


def test_owners_come_often_enough_and_wait_for_a_short_time() -> None:
    good = {"cases": 60, "back_p95_s": 0.03, "wrong": 0, "failed": 0}
    assert all(each.holds for each in owners.claims([good]))
    bad = {"cases": 40, "back_p95_s": 0.08, "wrong": 1, "failed": 1}
    assert not any(each.holds for each in owners.claims([bad]))


def test_the_twin_of_a_run_is_that_run(tmp_path: Path) -> None:
    called = [(1.0 + 1.7 * k, "fgh"[k % 7 % 3]) for k in range(60)]
    run, answers = ran(tmp_path, 1400 * MB, *called)
    found = profiles(run, dict.fromkeys("fgh", ALONE), gone(run))
    assert {(each.run_s, each.imported_s) for each in found.values()} == {(0.1, 1.0)}
    slow = profiles(run, dict.fromkeys("fg", ALONE) | {"h": RESTED}, gone(run))
    assert [each.rested_bytes_per_s for each in slow.values()] == pytest.approx([1500 * MB / 3.002] * 3)
    again = simulate(run, found, [(run.events[0][0] + at_s, name) for at_s, name in called])
    assert again.failed == 0
    live_s = [answer.latency_s for answer in answers]
    assert statistics.mean(again.latencies_s) == pytest.approx(statistics.mean(live_s), rel=0.02)
    assert statistics.mean(again.waits_s) == pytest.approx(statistics.mean(live_s) - 0.1, rel=0.05)
    means_s = spread(run, found, [(run.events[0][0] + at_s, name) for at_s, name in called], 1, {"f": ALONE})
    shown = simulated_fields(again, means_s)
    assert len(set(shown["simulated_varied_s"])) > 1
    assert statistics.mean(means_s) == pytest.approx(shown["simulated_loading_mean_s"], rel=0.2)
