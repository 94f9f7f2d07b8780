"""Devices in virtual time, each run validated after every event."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from glowplug.core.commands import Command, Reject
from glowplug.core.events import Event
from glowplug.core.ids import DeviceId
from glowplug.core.specs import DeviceSpec
from glowplug.policy.registry import POLICIES
from glowplug.sim.faults import Disappears, Fault, LoadsFail, LosesMemory, Slows
from glowplug.sim.fleets import Fleet, FleetSettings, build
from glowplug.sim.models import ModelProfile, read_models
from glowplug.sim.outcomes import Outcome, latencies_s, offered_load, play, quantile
from glowplug.sim.workloads.registry import make_trace
from glowplug.sim.workloads.trace import Trace, trace_of

MODELS = read_models()
SMALL = FleetSettings(devices=3)
GPU0 = DeviceId("n0/gpu0")


def validated(fleet: Fleet) -> list[Command]:
    """Has the fleet's controller validated after every event; what it commands is in the list."""
    state, commands = fleet.simulation.state, []
    handle = state.handle

    def handle_and_validate(event: Event, now_s: float) -> list[Command]:
        made = handle(event, now_s)
        state.validate()
        commands.extend(made)
        return made

    state.handle = handle_and_validate  # type: ignore[method-assign]
    return commands


def calls(rate_per_min: float = 60.0, functions: int = 8, minutes: float = 2.0, seed: int = 0) -> Trace:
    return make_trace(f"zipf:functions={functions},rate_per_min={rate_per_min},minutes={minutes}", seed)


def run(settings: FleetSettings, trace: Trace, *faults: tuple[float, Fault]) -> tuple[Outcome, Fleet]:
    fleet = build(settings, MODELS, trace.functions)
    validated(fleet)
    fleet.simulation.run(faults, 0.0)
    return play(fleet, trace), fleet


def change(**settings: Any) -> FleetSettings:
    return FleetSettings(**{"devices": 3, **settings})


@pytest.mark.parametrize("scheduling", sorted(POLICIES["scheduling"]))
@pytest.mark.parametrize("loader", ["paper", "ours"])
def test_every_policy_answers_everything_and_the_state_stays_whole(scheduling: str, loader: str) -> None:
    eviction = "lru" if scheduling != "finish-first" else "value-per-byte"
    settings = change(scheduling=scheduling, eviction=eviction, loader=loader, nodes=2)
    trace = calls()
    outcome, _ = run(settings, trace)
    assert (outcome.answered, outcome.refused) == (trace.requests, {})
    assert 0 < outcome.utilisation <= 1
    assert outcome.mean_s >= 1.2, "no run is faster than its profile"


def test_the_same_seed_is_the_same_outcome() -> None:
    def once(seed: int) -> float:
        trace = calls(seed=seed)
        return play(build(SMALL, MODELS, trace.functions, seed=seed), trace).mean_s

    assert once(1) == once(1) != once(2)


def test_a_single_request_costs_its_load_and_its_run() -> None:
    trace = trace_of(np.array([7.0]), np.array([0]), ["f0"], 60.0)
    outcome, _ = run(change(scheduling="lalb"), trace)
    assert outcome.mean_s == pytest.approx(MODELS[0].load_s + MODELS[0].run_s)
    assert (outcome.loads, outcome.copies) == (1, 0)


def test_our_loader_reads_once_and_then_copies() -> None:
    """Two models of a device's size take turns: every request loads."""
    model = ModelProfile("m", 8 * 10**9, load_s=4.0, run_s=1.0)
    trace = trace_of(np.arange(0.0, 100.0, 10.0), np.arange(10) % 2, ["f0", "f1"], 100.0)
    for loader, expected_s in (("paper", 5.0), ("ours", 1.5)):
        settings = change(devices=1, loader=loader, copy_bytes_per_s=16e9, scheduling="lb")
        fleet = build(settings, [model], 2)
        validated(fleet)
        play(fleet, trace)
        found = latencies_s(fleet.simulation.run((), 0.0).answers)
        assert quantile(found, 0.5) == pytest.approx(expected_s)
        assert found[-1] == pytest.approx(5.0), "the first load of each is from the disk"


def test_offered_load_counts_runs_and_no_loads() -> None:
    trace = calls(rate_per_min=60, functions=1)
    expected = trace.requests * MODELS[0].run_s / (2 * 120.0)
    assert offered_load(trace, MODELS, 2) == pytest.approx(expected)


def test_a_load_that_fails_is_tried_elsewhere() -> None:
    trace = calls()
    outcome, _ = run(SMALL, trace, (1.0, LoadsFail(GPU0, 3)))
    assert outcome.answered + sum(outcome.refused.values()) == trace.requests
    assert outcome.refused.get("unavailable", 0) <= 3


@pytest.mark.parametrize("seed", range(3))
def test_a_device_that_loses_its_memory_costs_what_ran_there(seed: int) -> None:
    trace = calls(seed=seed)
    resets = [(at_s, LosesMemory("n0", DeviceSpec(GPU0, SMALL.device_bytes))) for at_s in (20.0, 60.0)]  # type: ignore[arg-type]
    outcome, fleet = run(SMALL, trace, *resets)
    assert outcome.answered + sum(outcome.refused.values()) == trace.requests
    assert set(outcome.refused) <= {"worker_died"}
    assert outcome.refused.get("worker_died", 0) <= 2, "one request runs there at a time"
    assert len(fleet.simulation.state.context.store.fleet.devices) == 3


@pytest.mark.parametrize("seed", range(3))
def test_a_device_that_disappears_with_a_request_running(seed: int) -> None:
    trace = calls(seed=seed)
    outcome, fleet = run(SMALL, trace, (30.0, Disappears(GPU0)))
    assert outcome.answered + sum(outcome.refused.values()) == trace.requests
    assert set(outcome.refused) <= {"worker_died"}
    assert outcome.refused.get("worker_died", 0) <= 1
    assert len(fleet.simulation.state.context.store.fleet.devices) == 2


def test_a_device_that_slows_to_a_tenth_gets_less_to_do() -> None:
    def done_there(*faults: tuple[float, Fault]) -> int:
        trace = calls(rate_per_min=40, functions=3, minutes=6)
        fleet = build(SMALL, MODELS, trace.functions, keep_log=True)
        fleet.simulation.run(faults, 0.0)
        outcome = play(fleet, trace)
        assert outcome.answered == trace.requests
        log = fleet.simulation.run((), 0.0).commands
        there = {c.target.key for _, c in log if getattr(c, "device", None) == GPU0}
        return sum(len(c.requests) for _, c in log if hasattr(c, "requests") and str(c.instance) in there)

    assert done_there((60.0, Slows(GPU0, 10.0))) < done_there() / 2


def test_whichever_device_slows_the_others_take_its_work() -> None:
    """What the first one was measured to take had stood for all: with it all looked overloaded, and nobody
    got another copy."""

    def mean_s(number: int) -> float:
        trace = calls(rate_per_min=100, functions=12, minutes=3)
        fleet = build(change(devices=4, loader="ours"), MODELS, trace.functions)
        fleet.simulation.run([(30.0, Slows(DeviceId(f"n0/gpu{number}")))], 0.0)
        return play(fleet, trace).mean_s

    assert mean_s(0) < 1.2 * mean_s(3)


def test_where_all_devices_are_twice_as_slow_a_run_keeps_one_at_work_twice_as_long() -> None:
    """A part of that is learned of the runs, the rest of the devices."""
    trace = calls(rate_per_min=40, functions=3, minutes=6)
    fleet = build(SMALL, MODELS, trace.functions)
    fleet.simulation.run([(0.0, Slows(DeviceId(f"n0/gpu{number}"), 2.0)) for number in range(3)], 0.0)
    play(fleet, trace)
    view = fleet.simulation.state.context.fleet_view
    assert view is not None
    learned = [view.usual_run_s(function) for function in fleet.functions]
    assert learned == pytest.approx([2 * model.run_s for model in MODELS[:3]], rel=0.05)


@pytest.mark.parametrize("told", [1 / 3, 3.0])
def test_a_profile_that_is_wrong_by_3x_is_put_right(told: float) -> None:
    trace = calls(minutes=5)
    true, _ = run(SMALL, trace)
    wrong, fleet = run(change(told=told), trace)
    assert wrong.answered == trace.requests
    view = fleet.simulation.state.context.fleet_view
    assert view is not None
    learned = [view.run_s(fleet.functions[0], device) for device in view.devices]
    assert learned == pytest.approx([MODELS[0].run_s] * 3, rel=0.2)
    assert wrong.mean_s < 1.5 * true.mean_s


def test_a_model_larger_than_every_device_is_refused_and_the_others_are_served() -> None:
    huge = ModelProfile("huge", 9 * 10**9, load_s=4.0, run_s=1.0)
    trace = calls(functions=2)
    fleet = build(SMALL, [MODELS[0], huge], 2)
    commands = validated(fleet)
    outcome = play(fleet, trace)
    counts = trace.counts().tolist()
    assert (outcome.answered, outcome.refused) == (counts[0], {"no_space": counts[1]})
    refusal = next(c for c in commands if isinstance(c, Reject))
    assert "needs 9000 MB of a device" in refusal.message


def test_a_model_is_evicted_and_wanted_at_the_same_moment() -> None:
    """Every request needs a load that evicts the other model, which is asked for in the same instant."""
    model = ModelProfile("m", 8 * 10**9, load_s=4.0, run_s=1.0)
    trace = trace_of(np.repeat(np.arange(0.0, 100.0, 5.0), 2), np.arange(40) % 2, ["f0", "f1"], 100.0)
    for scheduling in sorted(POLICIES["scheduling"]):
        for loader in ("paper", "ours"):
            settings = change(devices=1, scheduling=scheduling, loader=loader, host_bytes=8 * 10**9)
            fleet = build(settings, [model], 2)
            validated(fleet)
            assert play(fleet, trace).answered == trace.requests


def test_100_000_requests_at_once_are_bounded_and_all_are_told() -> None:
    trace = calls(rate_per_min=6_000_000, functions=4, minutes=1 / 60)
    fleet = build(change(max_queue=300, max_queued=1000), MODELS, 4)
    rejects: list[Reject] = []
    handle = fleet.simulation.state.handle

    def watch(event: Event, now_s: float) -> list[Command]:
        made = handle(event, now_s)
        rejects.extend(c for c in made if isinstance(c, Reject))
        store = fleet.simulation.state.context.store
        assert len(store.waiting) + store.fleet.lined <= 1000
        return made

    fleet.simulation.state.handle = watch  # type: ignore[method-assign]
    outcome = play(fleet, trace)
    fleet.simulation.state.validate()
    assert outcome.requests == trace.requests > 99_000
    assert outcome.answered + sum(outcome.refused.values()) == trace.requests
    assert set(outcome.refused) == {"queue_full", "overloaded"}
    assert len(rejects) == sum(outcome.refused.values())
    assert all(reject.retry_after_s for reject in rejects)
    assert outcome.answered >= 1000
