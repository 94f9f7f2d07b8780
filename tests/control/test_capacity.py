from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.control.capacity import (
    MOST_IN_ONE,
    MOST_SLOTS,
    at_once,
    is_shared,
    least_slots,
    most_slots,
    overflow,
    patience_s,
    slots,
)
from glowplug.core.specs import BundleFacts, Declaration, EndpointSpec


def declared(concurrency: int = 1, *batches: int) -> Declaration:
    return Declaration(
        name="f", kind="model", module="m", qualname="M", target_concurrency=concurrency,
        endpoints=tuple(EndpointSpec(f"e{n}", max_batch=batch) for n, batch in enumerate(batches)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("run_s", "few", "most"),
    [
        (None, 1, 1),
        (1.0, 1, 1),
        (0.05, 1, 1),
        (0.03, 2, 2),
        (0.01, 2, 5),
        (0.001, 5, 50),
        (0.0001, 50, MOST_SLOTS),
        (0.0, MOST_SLOTS, MOST_SLOTS),
    ],
)
def test_the_shorter_a_request_the_more_wait_in_the_socket(run_s: float | None, few: int, most: int) -> None:
    assert slots(run_s, 1, 1) == few
    assert most_slots(run_s, 1, 1) == most


def test_what_runs_together_has_room_together() -> None:
    assert least_slots(declared(8), None) == 8
    assert least_slots(declared(1, 1, 16), None) == 32, "the next batch gathers meanwhile"
    facts = BundleFacts(endpoints=(EndpointSpec("e", max_batch=4),))
    assert least_slots(declared(1, 16), facts) == 8, "what was built counts"
    assert [slots(run_s, 4, 4) for run_s in (None, 1.0, 0.01, 0.001)] == [4, 4, 4, 20]
    assert (at_once(declared(3, 1), None), at_once(declared(3, 8), None)) == (3, 8)


def test_one_at_a_time_stays_one_at_a_time() -> None:
    assert overflow(slots(0.1, 1, 1)) == 0
    assert not is_shared(most_slots(0.1, 1, 1))


def test_patience_is_a_few_times_what_a_request_takes() -> None:
    assert patience_s(None) == patience_s(0.001) == 0.1
    assert patience_s(1.0) == 4.0


@given(
    st.integers(1, 256),
    st.integers(1, 1000),
    st.one_of(st.none(), st.floats(0.0, 100.0)),
)
def test_never_more_than_a_connection_takes(concurrency: int, batch: int, run_s: float | None) -> None:
    least = least_slots(declared(concurrency, batch), None)
    few, most = slots(run_s, concurrency, least), most_slots(run_s, concurrency, least)
    assert 1 <= few <= most <= MOST_SLOTS
    assert most + overflow(most) <= MOST_IN_ONE
