"""The baselines, as real processes, with the smallest real work: one model, one answer each."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.bench.answers import TOLERANCE, difference
from glowplug.bench.models import MODELS, plain_answers, request_of
from glowplug.bench.systems.forkserver import ForkserverSystem
from glowplug.bench.systems.naive import NaiveSystem

MODEL = next((model for model in MODELS.values() if not model.lacks), None)
pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(MODEL is None, reason="no model's packages are installed"),
]


def test_both_baselines_answer_as_a_plain_forward_does(tmp_path: Path) -> None:
    assert MODEL is not None
    request = request_of(MODEL)
    expected = plain_answers(MODEL, [request])[0]
    naive = NaiveSystem(tmp_path, warm_repeats=2)
    forkserver = ForkserverSystem([MODEL], tmp_path, warm_repeats=2)
    try:
        slow = naive.measure(MODEL, request, "local", "warm")
        quick = [forkserver.measure(MODEL, request, "imported", cache) for cache in ("warm", "cold")]
    finally:
        forkserver.close()
    for each in (slow, *quick):
        assert difference(each.answer, expected) <= TOLERANCE
        assert sum(each.phases.values()) == pytest.approx(each.latency_s, rel=0.05)
        assert each.warm_s > 0
    assert slow.answer == expected
    assert "import" in slow.phases
    for each in (slow, *quick):
        assert each.held.own_bytes == 0
    assert slow.held.environment_bytes == 0
    assert all(each.held.environment_bytes > 30e6 for each in quick)
    assert slow.held.weights_bytes > 10e6
    assert quick[0].held.weights_bytes > 10e6
    assert quick[1].held.weights_bytes <= quick[0].held.weights_bytes
