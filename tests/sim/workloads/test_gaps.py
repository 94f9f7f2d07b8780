"""How regular functions are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from glowplug.sim.workloads.gaps import Classes, classes, classify, gaps, variation
from glowplug.sim.workloads.trace import Trace
from tests.sim.workloads.traces import TRACES, at, trace


@settings(deadline=None)
@given(TRACES)
def test_variation_is_that_of_each_functions_gaps(made: Trace) -> None:
    found = variation(made)
    for function in range(made.functions):
        each = np.diff(at(made, function))
        if len(each) < 2:
            assert np.isnan(found[function])
        elif each.mean() > 0:
            assert found[function] == pytest.approx(each.std() / each.mean(), rel=1e-6, abs=1e-6)
        else:
            assert found[function] == 0


def test_gaps_are_between_calls_of_one_function() -> None:
    gap_s, function = gaps(trace([0, 10, 30], [5, 6]))
    assert gap_s.tolist() == [10, 20, 1]
    assert function.tolist() == [0, 0, 1]


def test_classes_by_their_bounds() -> None:
    assert classify(np.array([0.0, 0.99, 1.0, 4.0, 4.01, np.nan])) == [
        "predictable", "predictable", "normal", "normal", "bursty", "unknown",
    ]  # fmt: skip
    assert classes(trace([0, 1, 2], [0], [])) == Classes(1, 0, 0, 2)
