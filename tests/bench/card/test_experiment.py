"""The experiment on a graphics card, run without one; and that its claims can fail."""

from __future__ import annotations

from typing import Any

import pytest

from glowplug.bench.card import experiment
from glowplug.bench.result import Result

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def quick() -> Result:
    pytest.importorskip("torch", reason="needs the torch extra")
    return experiment.run(experiment.Options(quick=True, device="cpu"))


def test_every_system_answers_alike(quick: Result) -> None:
    loads = [row for row in quick.rows if row["part"] == "loads"]
    assert {row["system"] for row in loads} == {*experiment.BASELINES, *experiment.Options().systems}
    assert all(row["equal"] for row in loads)
    assert quick.missing == ["contexts and served functions: they need a graphics card"]


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(ValueError, match="contexts, loads, served"):
        experiment.run(experiment.Options(parts=("copies",), device="cpu"))


def test_claims_fail_where_the_usual_ways_are_faster_or_an_answer_is_wrong() -> None:
    rows: list[dict[str, Any]] = [
        {"part": "loads", "model": "a", "system": "torch .to", "first_answer_s": 1.0, "equal": True},
        {
            "part": "loads",
            "model": "a",
            "system": "safetensors to device",
            "first_answer_s": 0.5,
            "equal": True,
        },
        {"part": "loads", "model": "a", "system": "mapped", "first_answer_s": 0.6, "equal": False},
        {"part": "served", "model": "a", "system": "glowplug", "step": "parked", "times_naive": 19.0},
    ]
    assert [each.holds for each in experiment.claims(rows)] == [False, False, False]


def test_published_strategies_are_not_ours() -> None:
    seconds = {"torch .to": 1.0, "safetensors to device": 0.5, "cicada": 0.1, "streamed": 0.6}
    rows: list[dict[str, Any]] = [
        {"part": "loads", "model": "a", "system": name, "first_answer_s": s} for name, s in seconds.items()
    ]
    assert [(each.value, each.holds) for each in experiment.claims(rows)[1:]] == [(0.5 / 0.6, False)]
    del rows[-1]
    assert len(experiment.claims(rows)) == 1, "without a strategy of ours nothing is claimed of it"


def test_a_context_that_is_ready_has_to_spare_half_of_the_time() -> None:
    steps = {"staged": 0.2, "staged, no context ready": 0.5}
    rows = [
        {
            "part": "served",
            "model": "a",
            "system": "glowplug",
            "step": step,
            "latency_s": s,
            "times_naive": 9.0,
        }
        for step, s in steps.items()
    ]
    assert [each.holds for each in experiment.claims(rows)] == [True, True, True]
    rows[1]["latency_s"] = 0.3
    assert [each.holds for each in experiment.claims(rows)] == [True, False, True]
