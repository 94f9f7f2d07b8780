from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.sim.fleets import FleetSettings, build
from glowplug.sim.models import ModelProfile, read_models
from glowplug.sim.outcomes import Outcome, play
from glowplug.sim.sizing import devices_of_use, least_devices, runs_alone_s
from glowplug.sim.workloads.registry import make_trace
from glowplug.sim.workloads.trace import Trace, trace_of

OUTCOME = Outcome(
    requests=10, answered=10, refused={}, mean_s=1.0, p50_s=1.0, p95_s=1.0, p99_s=1.0, worst_s=1.0,
    miss_ratio=0.0, false_miss_ratio=0.0, found_ratio=1.0, loads=0, copies=0, from_memory=0, evictions=0,
    hottest_copies=1.0, utilisation=0.5, took_s=60.0, wall_s=0.1,
)  # fmt: skip


@given(enough=st.integers(1, 4000), first=st.integers(0, 5000), more=st.integers(0, 6000))
def test_the_fewest_that_are_enough_are_found(enough: int, first: int, more: int) -> None:
    def run(devices: int) -> Outcome:
        return msgspec.structs.replace(OUTCOME, p99_s=2.0 if devices >= enough else 9.0)

    found = least_devices(run, p99_s=5.0, first=first, most=enough + more)
    assert found.devices == enough
    assert enough in found.tried
    assert enough == 1 or enough - 1 in found.tried
    assert len(found.tried) <= 2 * (enough + more).bit_length()


@given(p99s_s=st.lists(st.floats(1.0, 9.0), min_size=60, max_size=60), first=st.integers(1, 60))
def test_where_more_may_do_worse_one_less_is_still_not_enough(p99s_s: list[float], first: int) -> None:
    def run(devices: int) -> Outcome:
        return msgspec.structs.replace(OUTCOME, p99_s=p99s_s[devices - 1])

    found = least_devices(run, p99_s=5.0, first=first, most=60)
    if found.devices is None:
        assert found.tried[60].p99_s > 5.0
    else:
        assert found.tried[found.devices].p99_s <= 5.0
        assert found.devices == 1 or found.tried[found.devices - 1].p99_s > 5.0


def test_where_no_number_is_enough_the_search_ends() -> None:
    found = least_devices(lambda devices: OUTCOME, p99_s=0.5, first=8, most=67)
    assert (found.devices, found.most) == (None, 67)
    assert list(found.tried) == [8, 16, 32, 64, 67]


def test_who_refuses_requests_has_not_enough() -> None:
    def run(devices: int) -> Outcome:
        return msgspec.structs.replace(OUTCOME, answered=10 if devices >= 3 else 9)

    assert least_devices(run, p99_s=5.0, first=1, most=5).devices == 3


def test_a_p99_that_is_the_bound_is_enough() -> None:
    """As virtual times are floats, a run of 1.28 s may take some 1e-13 more."""
    found = least_devices(
        lambda devices: msgspec.structs.replace(OUTCOME, p99_s=1.28 + 4e-13), p99_s=1.28, first=1, most=1
    )
    assert found.devices == 1


MODELS = (ModelProfile("a", 10**9, 2.0, 1.0), ModelProfile("b", 10**9, 0.0, 0.5, batch_s={4: 0.25}))


def calls(*pairs: tuple[float, int]) -> Trace:
    times_s, functions = zip(*pairs, strict=True)
    return trace_of(np.array(times_s), np.array(functions), ("f", "g", "h", "never"), 60.0)


def test_of_use_are_so_many_as_each_function_has_calls_at_once() -> None:
    """A call to `f` or `h` lasts 3 s, one to `g` half a second; where one ends, the next is not beside it."""
    trace = calls((0.0, 0), (2.9, 0), (3.0, 0), (5.9, 0), (0.0, 1), (0.5, 1), (0.6, 1), (9.0, 2))
    assert devices_of_use(trace, MODELS) == 2 + 2 + 1
    assert devices_of_use(calls(*[(1.0, 0)] * 7), MODELS) == 7


def test_what_runs_alone_take() -> None:
    trace = calls(*((float(k), 0) for k in range(3)), (4.0, 1))
    assert [runs_alone_s(trace, MODELS, share) for share in (0.0, 0.24, 0.25, 1.0)] == [0.25, 0.25, 1.0, 1.0]


@pytest.mark.parametrize("scheduling", ["finish-first", "lalb-o3", "lb"])
@pytest.mark.parametrize(
    "workload", ["bursty:functions=1,rate_per_min=20,minutes=9", "zipf:functions=6,rate_per_min=60,minutes=2"]
)
def test_more_than_are_of_use_do_not_help(workload: str, scheduling: str) -> None:
    trace, models = make_trace(workload), read_models()
    most = devices_of_use(trace, models)

    def p99_s(devices: int) -> float:
        settings = FleetSettings(devices=devices, scheduling=scheduling, loader="ours")
        return play(build(settings, models, trace.functions), trace).p99_s

    p99s_s = [p99_s(devices) for devices in (most, most + 1, 2 * most, 4 * most)]
    assert p99s_s[0] <= 1.02 * min(p99s_s)
    assert p99s_s[0] >= runs_alone_s(trace, models, 0.99)


@pytest.mark.parametrize("scheduling", ["finish-first", "lalb-o3"])
def test_a_burst_to_one_function_is_sized(tmp_path: Path, scheduling: str) -> None:
    """By the mean, a tenth of a device is busy; twenty calls come at once."""
    lines = [f"{300 * burst},a" for burst in range(12) for _ in range(20)]
    (tmp_path / "burst.csv").write_text("\n".join(["time_s,function", *lines]), encoding="utf-8")
    trace, models = make_trace(f"events:{tmp_path}/burst.csv"), read_models()

    def run(devices: int) -> Outcome:
        settings = FleetSettings(devices=devices, scheduling=scheduling, loader="ours")
        return play(build(settings, models, trace.functions), trace)

    most = devices_of_use(trace, models)
    assert most == 20
    found = least_devices(run, p99_s=5.5, first=1, most=most)
    assert found.devices is not None
    assert 5 < found.devices < 20
    assert found.tried[found.devices].p99_s <= 5.5 < found.tried[found.devices - 1].p99_s
