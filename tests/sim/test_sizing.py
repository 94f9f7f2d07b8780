from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.sim.fleets import FleetSettings, build
from glowplug.sim.models import read_models
from glowplug.sim.outcomes import Outcome, offered_load, play
from glowplug.sim.sizing import least_devices
from glowplug.sim.workloads.registry import make_trace

OUTCOME = Outcome(
    requests=10, answered=10, refused={}, mean_s=1.0, p50_s=1.0, p95_s=1.0, p99_s=1.0, worst_s=1.0,
    miss_ratio=0.0, false_miss_ratio=0.0, found_ratio=1.0, loads=0, copies=0, from_memory=0, evictions=0,
    hottest_copies=1.0, utilisation=0.5, took_s=60.0, wall_s=0.1,
)  # fmt: skip


@given(enough=st.integers(1, 60), offered=st.floats(0.1, 40), functions=st.integers(60, 100))
def test_the_fewest_that_are_enough_are_found(enough: int, offered: float, functions: int) -> None:
    def run(devices: int) -> Outcome:
        return msgspec.structs.replace(OUTCOME, p99_s=2.0 if devices >= enough else 9.0)

    found = least_devices(run, p99_s=5.0, offered_devices=offered, functions=functions)
    assert found.devices == enough
    assert enough in found.tried
    assert len(found.tried) <= 16


def test_where_no_number_is_enough_the_search_ends() -> None:
    found = least_devices(lambda devices: OUTCOME, p99_s=0.5, offered_devices=7.2, functions=35)
    assert found.devices is None
    assert max(found.tried) == 35 + 4 * 8


def test_who_refuses_requests_has_not_enough() -> None:
    def run(devices: int) -> Outcome:
        return msgspec.structs.replace(OUTCOME, answered=10 if devices >= 3 else 9)

    assert least_devices(run, p99_s=5.0, offered_devices=1.0, functions=5).devices == 3


@pytest.mark.parametrize("scheduling", ["finish-first", "lalb-o3"])
def test_a_real_fleet_is_sized(scheduling: str) -> None:
    trace, models = make_trace("zipf:functions=6,rate_per_min=60,minutes=2"), read_models()

    def run(devices: int) -> Outcome:
        settings = FleetSettings(devices=devices, scheduling=scheduling)
        return play(build(settings, models, trace.functions), trace)

    offered = offered_load(trace, models, 1)
    found = least_devices(run, p99_s=6.0, offered_devices=offered, functions=trace.functions)
    assert found.devices is not None
    assert found.tried[found.devices].p99_s <= 6.0
    assert found.devices >= offered - 1
