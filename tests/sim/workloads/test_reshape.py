"""Traces cut, chosen, merged, stretched and brought to a rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.core.errors import InvalidTrace, InvalidWorkload
from glowplug.sim.workloads.gaps import variation
from glowplug.sim.workloads.reshape import cut, jitter_timers, merge, normalise, select, stretch, top
from glowplug.sim.workloads.trace import Facts, Trace, trace_of
from tests.sim.workloads.traces import TRACES, at, trace


def test_calls_are_sorted_with_their_columns() -> None:
    made = trace_of(
        np.array([3.0, 1.0, 2.0]), np.array([0, 1, 0]), "ab", 5.0, columns={"size": np.array([3.0, 1.0, 2.0])}
    )
    assert list(made.events()) == [(1.0, 1), (2.0, 0), (3.0, 0)]
    assert made.columns["size"].tolist() == [1.0, 2.0, 3.0]
    assert made.counts().tolist() == [2, 1]
    assert made.rate_per_min == 36.0


@pytest.mark.parametrize(
    ("times", "function", "span_s", "said"),
    [
        ([1.0, 5.0], [0, 0], 5.0, "5.0 s of 5.0 s"),
        ([-1.0], [0], 5.0, "from -1.0"),
        ([1.0], [1], 5.0, "function 1 of 1"),
        ([float("nan")], [0], 5.0, "sorted numbers"),
        ([1.0], [0, 0], 5.0, "1 times for 2 calls"),
        ([], [], 0.0, "no window"),
    ],
)
def test_a_trace_that_is_none(times: list[float], function: list[int], span_s: float, said: str) -> None:
    with pytest.raises(InvalidTrace, match=said):
        trace_of(np.array(times), np.array(function, dtype=int), "a", span_s)


def test_cutting_keeps_what_lies_inside() -> None:
    made = cut(trace([0, 10, 20, 30]), 10, 30)
    assert at(made, 0) == [0, 10]
    assert made.span_s == 20
    with pytest.raises(InvalidWorkload, match="between 3 and 3"):
        cut(made, 3, 3)


def test_top_numbers_functions_by_their_calls() -> None:
    made = top(trace([1], [2, 3, 4], [5, 6]), 2)
    assert made.names == ("f1", "f2")
    assert at(made, 0) == [2, 3, 4]
    with pytest.raises(InvalidWorkload, match="has 2 functions"):
        top(made, 3)


def test_selecting_takes_facts_along() -> None:
    facts = Facts(np.arange(21.0).reshape(3, 7), np.arange(24.0).reshape(3, 8), ("http", "timer", "queue"))
    made = select(trace_of(np.zeros(3), np.arange(3), "abc", 1.0, facts), np.array([2, 0]))
    assert made.facts.triggers == ("queue", "http")
    assert made.facts.median_s().tolist() == [17.0, 3.0]


def test_merging_keeps_functions_apart() -> None:
    one, other = trace([1, 3], span_s=5), trace([2], [4], span_s=7)
    made = merge([one, other])
    assert list(made.events()) == [(1, 0), (2, 1), (3, 0), (4, 2)]
    assert made.names == ("f0", "f0", "f1")
    assert made.span_s == 7


@settings(deadline=None)
@given(TRACES)
def test_a_cut_in_two_merges_into_the_whole(made: Trace) -> None:
    early, late = cut(made, 0, 50), cut(made, 50, 100)
    assert early.requests + late.requests == made.requests
    assert [*early.times_s, *(late.times_s + 50)] == pytest.approx(made.times_s.tolist())


@settings(deadline=None)
@given(TRACES, st.floats(1.0, 1000.0))
def test_stretching_a_whole_trace_keeps_calls_and_variation(made: Trace, factor: float) -> None:
    longer = stretch(made, factor, made.span_s * factor * (1 + 1e-12))
    assert longer.requests == made.requests
    assert np.allclose(variation(longer), variation(made), rtol=1e-6, atol=1e-6, equal_nan=True)


@settings(deadline=None)
@given(TRACES, st.data())
def test_a_stretched_window_is_a_run_of_each_functions_calls(made: Trace, data: st.DataObject) -> None:
    """Nothing between two calls that are kept is left out: the time axis is stretched, not thinned."""
    factor = np.array(
        data.draw(st.lists(st.floats(0.5, 50), min_size=made.functions, max_size=made.functions))
    )
    start_s = np.array(
        data.draw(st.lists(st.floats(0, 500), min_size=made.functions, max_size=made.functions))
    )
    window = stretch(made, factor, 80.0, start_s)
    window.validate()
    for function in range(made.functions):
        whole = [t * factor[function] - start_s[function] for t in at(made, function)]
        assert at(window, function) == [t for t in whole if 0 <= t < 80]


def test_stretching_needs_a_positive_factor() -> None:
    with pytest.raises(InvalidWorkload, match="positive"):
        stretch(trace([1]), 0.0, 10)


@settings(deadline=None)
@given(TRACES, st.data())
def test_normalising_holds_the_rate_exactly_and_keeps_the_order(made: Trace, data: st.DataObject) -> None:
    if not made.requests:
        with pytest.raises(InvalidWorkload, match="no calls"):
            normalise(made, 10)
        return
    wanted = data.draw(st.integers(1, made.requests))
    rate = data.draw(st.floats(0.1, 1e5))
    scaled = normalise(made, rate, 60 * wanted / rate)
    scaled.validate()
    assert scaled.requests == wanted
    assert scaled.function.tolist() == made.function[:wanted].tolist()


@settings(deadline=None)
@given(TRACES, st.floats(0.1, 1e5))
def test_normalising_all_of_a_trace_keeps_every_functions_variation(made: Trace, rate: float) -> None:
    if not made.requests:
        return
    scaled = normalise(made, rate)
    assert scaled.requests == made.requests
    assert scaled.rate_per_min == pytest.approx(rate)
    assert np.allclose(variation(scaled), variation(made), rtol=1e-6, atol=1e-6, equal_nan=True)


def test_calls_that_all_but_coincide_are_spread() -> None:
    scaled = normalise(trace([0.0, 1e-308, 50.0]), 60, 1.0)
    assert at(scaled, 0) == [0.0]
    assert at(normalise(trace([0.0, 1e-308, 2e-308, 50.0]), 120, 1.0), 0) == pytest.approx([0.0, 0.5])


def test_a_rate_that_needs_more_calls_than_there_are() -> None:
    with pytest.raises(
        InvalidWorkload, match="60 calls a minute for 2 minutes are 120 calls; the trace has 2"
    ):
        normalise(trace([1, 2]), 60, 120)


def test_only_timers_are_jittered() -> None:
    facts = Facts.unknown(2)
    timer_facts = Facts(facts.duration_s, facts.memory_bytes, ("timer", "http"))
    even = np.arange(0.0, 100.0, 10.0)
    made = trace_of(np.concatenate([even, even]), np.repeat([0, 1], 10), "ab", 100.0, timer_facts)
    late = jitter_timers(made, 20.0, np.random.default_rng(1))
    assert at(late, 1) == even.tolist()
    assert at(late, 0) != even.tolist()
    assert late.requests == made.requests
    assert all(t >= first for t, first in zip(at(late, 0), even, strict=True))
