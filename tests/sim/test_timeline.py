from __future__ import annotations

import numpy as np
import pytest

from glowplug.core.ids import DeviceId
from glowplug.sim.faults import Disappears
from glowplug.sim.fleets import FleetSettings, build
from glowplug.sim.models import ModelProfile
from glowplug.sim.outcomes import play
from glowplug.sim.timeline import Interval, intervals
from glowplug.sim.workloads.registry import make_trace
from glowplug.sim.workloads.trace import trace_of

MODEL = ModelProfile("m", 8 * 10**9, load_s=4.0, run_s=1.0)


def test_loads_runs_and_stays_of_two_models_that_take_turns() -> None:
    trace = trace_of(np.array([0.0, 10.0]), np.array([0, 1]), ["a", "b"], 20.0)
    fleet = build(FleetSettings(devices=1, scheduling="lb"), [MODEL], 2, keep_log=True)
    play(fleet, trace)
    found = intervals(fleet.simulation.run((), 0.0), 30.0)
    assert [(i.kind, i.function[:2], i.start_s, i.end_s) for i in found] == [
        ("load", "f0", 0.0, 4.0),
        ("lies", "f0", 4.0, 10.0),
        ("run", "f0", 4.0, 5.0),
        ("load", "f1", 10.0, 14.0),
        ("lies", "f1", 14.0, 30.0),
        ("run", "f1", 14.0, 15.0),
    ]


def test_nothing_passes_the_end() -> None:
    trace = trace_of(np.array([0.0, 10.0]), np.array([0, 1]), ["a", "b"], 20.0)
    fleet = build(FleetSettings(devices=1, scheduling="lb"), [MODEL], 2, keep_log=True)
    play(fleet, trace)
    result = fleet.simulation.run((), 0.0)
    assert [(i.kind, i.start_s, i.end_s) for i in intervals(result, 4.5)] == [
        ("load", 0.0, 4.0),
        ("lies", 4.0, 4.5),
        ("run", 4.0, 4.5),
    ]


def test_a_device_that_disappears_ends_what_it_did() -> None:
    trace = trace_of(np.array([0.0]), np.array([0]), ["a"], 20.0)
    fleet = build(FleetSettings(devices=2, scheduling="lb"), [MODEL], 1, keep_log=True)
    fleet.simulation.run([(4.5, Disappears(DeviceId("n0/gpu0")))], 0.0)
    play(fleet, trace)
    found = intervals(fleet.simulation.run((), 0.0), 30.0)
    assert all(i.end_s <= 4.5 for i in found if i.device == "n0/gpu0")


@pytest.mark.parametrize("scheduling", ["lalb-o3", "finish-first", "lb-overlap"])
def test_no_device_loads_two_models_or_runs_two_batches_at_once_or_holds_too_much(scheduling: str) -> None:
    trace = make_trace("zipf:functions=9,rate_per_min=60,minutes=2", 1)
    model = ModelProfile("m", 3 * 10**9, load_s=4.0, run_s=1.0)
    fleet = build(FleetSettings(devices=2, scheduling=scheduling), [model], 9, keep_log=True)
    outcome = play(fleet, trace)
    found = intervals(fleet.simulation.run((), 0.0), fleet.simulation.agenda.now_s)
    for device in ("n0/gpu0", "n0/gpu1"):
        for kind, most in (("run", 1), ("load", 1), ("lies", 2)):
            assert deepest([i for i in found if (i.kind, i.device) == (kind, device)]) <= most
    assert sum(i.kind == "load" for i in found) == outcome.loads
    ran_s = sum(i.end_s - i.start_s for i in found if i.kind == "run")
    assert ran_s == pytest.approx(outcome.utilisation * 2 * outcome.took_s)


def deepest(found: list[Interval]) -> int:
    edges = sorted([(i.start_s, 1) for i in found] + [(i.end_s, -1) for i in found])
    depth = most = 0
    for _, step in edges:
        depth += step
        most = max(most, depth)
    return most
