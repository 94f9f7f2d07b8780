"""Counting answers, and telling Prometheus."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser

from glowplug.core.histogram import BOUNDS_S, Histogram, quantile_s
from glowplug.core.status import (
    ColdStart,
    DeviceStatus,
    FunctionLoad,
    NodeStatus,
    PreloadStatus,
    ResidentStatus,
)
from glowplug.gateway.exposition import bounded, exposition
from glowplug.gateway.metrics import OTHERS, Metrics

PHASES = {"queue": 0.001, "fork": 0.01, "first_compute": 0.02, "reply": 0.0}


def samples(
    metrics: Metrics,
    loads: Sequence[FunctionLoad] = (),
    nodes: Sequence[NodeStatus] = (),
    devices: Sequence[DeviceStatus] = (),
) -> dict:
    """name{labels} -> value, read by Prometheus' own parser."""
    own = {"glowplug_gateway_tasks": ("Tasks.", 3.0)}
    text = b"".join(exposition(metrics, list(loads), nodes, devices, own)).decode()
    families = list(parser.text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "each metric in one piece"
    assert all(family.documentation for family in families)
    return {(s.name, *sorted(s.labels.items())): s.value for f in families for s in f.samples}


def test_requests_by_status_and_time() -> None:
    metrics = Metrics(lambda: 7.0)
    for total_s, status in ((0.0004, 200), (0.0005, 200), (0.003, 500), (1000.0, 200)):
        metrics.answered("f.default", status, total_s, "parked", {"compute": 0.25})
    found, who = samples(metrics), ("function", "f.default")
    assert found["glowplug_requests_total", who, ("status", "200")] == 3
    assert found["glowplug_requests_total", who, ("status", "500")] == 1
    buckets = {key[2][1]: n for key, n in found.items() if key[0] == "glowplug_request_seconds_bucket"}
    assert (buckets["0.0005"], buckets["0.002"], buckets["0.004"], buckets["65.536"]) == (2, 2, 3, 3)
    assert buckets["+Inf"] == found["glowplug_request_seconds_count", who] == 4
    assert found["glowplug_request_seconds_sum", who] == pytest.approx(1000.0039)
    assert found["glowplug_compute_seconds_total", who] == 1.0
    assert found["glowplug_gateway_tasks",] == 3
    assert not [key for key in found if "cold" in key[0]]


def test_cold_starts_by_step_and_phase() -> None:
    metrics = Metrics(lambda: 7.0)
    metrics.answered("f.default", 200, 0.031, "staged", PHASES)
    metrics.answered("g.default", 200, 0.031, "staged", PHASES)
    metrics.answered("f.default", 429, 0.001, "", {})
    found = samples(metrics)
    cold = ("origin", "staged")
    for phase, seconds in {**PHASES, "total": 0.031}.items():
        assert found["glowplug_cold_start_seconds_count", cold, ("phase", phase)] == 2
        assert found["glowplug_cold_start_seconds_sum", cold, ("phase", phase)] == pytest.approx(2 * seconds)
    assert found["glowplug_cold_request_seconds_count", ("function", "f.default"), cold] == 1
    traffic = metrics.traffic("f.default")
    assert traffic is not None
    assert traffic.last_cold == ColdStart("staged", 0.031, 7.0)
    assert traffic.requests == {"200": 1, "429": 1}
    assert sum(traffic.seconds.values()) == 2


def test_functions_and_nodes_at_this_moment() -> None:
    load = FunctionLoad(
        "f.default", "ready", "busy", queued=4, in_flight=2, leases=1, climbing=1, parked=2, busy=3,
        staged_bytes=10, worker_bytes=20, weight_bytes=30,
    )  # fmt: skip
    found = samples(Metrics(), [load], [NodeStatus('no"de', 100, 50, 2, environment_bytes=25)])
    who, node = ("function", "f.default"), ("node", 'no"de')
    assert found["glowplug_function_step", who] == 5
    assert found["glowplug_queued_requests", who] == 4
    assert found["glowplug_leases", who] == 1
    assert [found["glowplug_workers", who, ("step", s)] for s in ("climbing", "parked", "busy")] == [1, 2, 3]
    assert [found["glowplug_held_bytes", who, ("step", s)] for s in ("staged", "parked", "local")] == [
        10,
        20,
        30,
    ]
    assert [found[f"glowplug_{n}_bytes", node] for n in ("budget", "reserved", "environment")] == [
        100,
        50,
        25,
    ]


def test_labels_are_bounded() -> None:
    metrics = Metrics(labelled=3)
    for number in range(10):
        metrics.answered(f"f{number}.default", 200, 0.001, "parked", {})
    metrics.answered(None, 404, 0.001, "", {})
    assert {*metrics.tallies} == {"f0.default", "f1.default", "f2.default", OTHERS, ""}
    assert metrics.tallies[OTHERS].statuses == {200: 7}
    assert metrics.traffic("f9.default") is None
    metrics.forget("f9.default")
    metrics.forget("f1.default")
    assert "f1.default" not in metrics.tallies
    loads = bounded(
        [FunctionLoad(f"f{n}", step="parked" if n == 8 else "local", queued=n) for n in range(10)], 3
    )
    assert [(load.function, load.queued) for load in loads[2:]] == [
        ("f2", 2),
        (OTHERS, 3 + 4 + 5 + 6 + 7 + 8 + 9),
    ]
    assert loads[-1].step == "parked"


def test_devices_tell_what_they_hold_and_what_waits() -> None:
    there = ResidentStatus("f.default", 3, "busy", 600)
    device = DeviceStatus("n/virtual0", "n", 1000, 600, "up", (there,), running=1, queued=4, pace=2.5)
    found, who = samples(Metrics(), devices=[device]), ("device", "n/virtual0")
    names = ("capacity_bytes", "used_bytes", "models", "running_requests", "queued_requests", "pace")
    assert [found[f"glowplug_device_{name}", who] for name in names] == [1000, 600, 1, 1, 4, 2.5]
    assert not [key for key in samples(Metrics()) if "device" in key[0]]


def test_a_scrape_of_a_thousand_functions_comes_in_small_blocks() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.answered(f"f{number}.default", 200, 0.001, "staged", PHASES)
    loads = [FunctionLoad(f"f{number}.default") for number in range(1000)]
    blocks = list(exposition(metrics, loads, [], [], {}))
    assert max(map(len, blocks)) < 300_000
    assert b"".join(blocks).count(b"\n") < 45_000


SECONDS = st.floats(1e-5, 60)


@given(st.lists(SECONDS, min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_right_to_a_bucket(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    assert histogram.total == len(values) == sum(histogram.sparse().values())
    found = quantile_s(histogram.counts, share)
    assert found is not None
    exact = sorted(values)[min(len(values) - 1, max(0, -int(-share * len(values) // 1) - 1))]
    assert found <= max(exact * 1.2, BOUNDS_S[0])
    assert found >= exact / 1.2 or exact <= BOUNDS_S[0]


def test_there_is_no_quantile_of_nothing() -> None:
    assert quantile_s([0] * 78, 0.5) is None


def answers(metrics: Metrics) -> None:
    metrics.answered("f.default", 200, 0.031, "staged", PHASES)
    metrics.answered("f.default", 200, 0.002, "parked", {"compute": 0.001})
    metrics.answered("f.default", 503, 0.001, "", {})
    metrics.answered(None, 404, 0.001, "", {})


def test_what_gateways_count_adds_up() -> None:
    """In portions, each of which is told once."""
    one, other, both = Metrics(lambda: 7.0), Metrics(lambda: 7.0), Metrics(lambda: 7.0)
    answers(one)
    for metrics in (other, both, both):
        answers(metrics)
        answers(metrics)
    answers(both)
    for _ in range(2):
        one.add(other.taken(), lambda function: True)
        answers(other)
    one.add(other.taken(), lambda function: True)
    assert one.traffic("f.default") == both.traffic("f.default")
    assert samples(one) == pytest.approx(samples(both))
    assert samples(other) == samples(Metrics())


def test_what_still_runs_of_a_function_that_is_gone_counts_as_nobodys() -> None:
    there = {"f.default"}
    metrics = Metrics(is_known=there.__contains__)
    answers(metrics)
    there.clear()
    metrics.forget("f.default")
    metrics.answered("f.default", 200, 0.5, "parked", {})
    assert {*metrics.tallies} == {""}
    there.add("f.default")
    metrics.answered("f.default", 200, 0.5, "parked", {})
    assert metrics.tallies["f.default"].statuses == {200: 1}


def test_a_function_that_is_gone_is_not_counted_again() -> None:
    one, other = Metrics(), Metrics(labelled=1)
    answers(other)
    other.answered("g.default", 200, 0.001, "", {})
    one.add(other.taken(), lambda function: False)
    assert set(one.tallies) == {"", OTHERS}


def test_loads_held_back_are_told_with_both_shares_that_may_be_spent() -> None:
    found = PreloadStatus(
        policy="ladder", cpu_share=0.15, memory_share=0.5, unused=1, climbing=2, started=9, used=5,
        used_late=2, wasted=3, failed=1, held_back=4, wasted_byte_seconds=7.5, seconds=2.5,
    )  # fmt: skip
    text = b"".join(exposition(Metrics(lambda: 7.0), [], [], [], {}, found)).decode()
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    held_back = families["glowplug_preload_held_back"]
    assert held_back.samples[0].value == 4
    assert [families[f"glowplug_preload_{name}"].samples[0].value for name in ("unused", "climbing")] == [
        1,
        2,
    ]
    assert "share of a core or of memory" in held_back.documentation
