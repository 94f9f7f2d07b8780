from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.core.ladder import PHASES
from glowplug.core.status import RequestTrace
from glowplug.gateway.flight import new_request_ids
from glowplug.gateway.phases import TraceRing, join_phases, origin_of, server_timing

SECONDS = st.floats(0, 100)


@given(SECONDS, SECONDS, st.dictionaries(st.sampled_from(PHASES[1:9]), SECONDS))
def test_phases_add_up_to_the_whole_in_their_order(
    total_s: float, queue_s: float, stamped: dict[str, float]
) -> None:
    phases = join_phases(total_s, queue_s, stamped)
    assert sum(phases.values()) == pytest.approx(total_s, abs=1e-6)
    assert all(seconds >= 0 for seconds in phases.values())
    assert list(phases) == [name for name in PHASES if name in phases]


def test_what_a_climb_did_before_the_request_came_is_no_part_of_it() -> None:
    phases = join_phases(0.1, 0.0, {"fork": 0.05, "build": 0.06, "first_compute": 0.08})
    assert phases == pytest.approx({"queue": 0, "fork": 0, "build": 0.02, "first_compute": 0.08, "reply": 0})


@pytest.mark.parametrize(
    ("stamped", "origin"),
    [
        ({"compute": 1.0}, "parked"),
        ({"fork": 1.0, "first_compute": 1.0}, "staged"),
        ({"fork": 1.0, "build": 1.0}, "imported"),
        ({"fork": 1.0, "import": 1.0, "build": 1.0}, "local"),
    ],
)
def test_the_origin_is_read_from_the_climb(stamped: dict[str, float], origin: str) -> None:
    assert origin_of(stamped) == origin


def test_server_timing_is_in_milliseconds() -> None:
    assert server_timing({"queue": 0.0015, "compute": 0.25}) == "queue;dur=1.500, compute;dur=250.000"


def test_the_ring_keeps_the_newest() -> None:
    ring = TraceRing(3)
    for number in range(5):
        ring.add(RequestTrace(number, f"f{number % 2}.d", "e", 0.0, 1.0, 200, "parked", {}))
    assert [trace.request for trace in ring.recent(None, 2)] == [3, 4]
    assert [trace.request for trace in ring.recent("f0.d", 10)] == [2, 4]
    assert ring.recent(None, 0) == []
    assert ring.find(1) is None


def test_request_ids_grow_over_restarts_and_survive_json() -> None:
    before, after = new_request_ids(1.8e9), new_request_ids(1.8e9 + 0.5)
    assert before() < before() < after() < 2**53
