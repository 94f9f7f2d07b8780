"""The baselines, as real processes, with the smallest real work: one model, one answer each."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.bench.answers import TOLERANCE, difference
from glowplug.bench.models import MODELS, plain_answers, request_of
from glowplug.bench.systems.forkserver import ForkserverSystem
from glowplug.bench.systems.naive import NaiveSystem
from glowplug.bench.systems.processes import descendants, proportional_bytes

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
    assert slow.held_bytes == 0
    assert quick[0].held_bytes > 50e6


def test_memory_below_a_process_is_counted(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert child.pid in descendants(os.getpid())
        assert proportional_bytes([child.pid]) >= 0
        assert proportional_bytes([2**22 + 1]) == 0
    finally:
        child.communicate(b"\n")
