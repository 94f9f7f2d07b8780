from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

import pytest

from glowplug.bench.coldstart.experiment import Options, cells
from glowplug.bench.models import MODELS, BenchModel
from glowplug.bench.systems import Measurement


class Standing:
    """A system that is never measured."""

    def __init__(self, name: str, *steps: str) -> None:
        self.name = name
        self._steps = steps

    def steps(self) -> tuple[str, ...]:
        return self._steps

    def measure(self, model: BenchModel, request: Any, step: str, cache: str) -> Measurement:
        raise NotImplementedError

    def close(self) -> None: ...


OURS = Standing("ours", "local", "imported", "staged", "parked")
OTHERS = (Standing("naive", "local"), Standing("forkserver", "imported"))


def test_a_baseline_is_measured_as_often_as_we_are_and_in_turn_with_us() -> None:
    found = cells(Options(), list(MODELS.values()), [OURS, *OTHERS])
    counts = Counter((model.name, step, cache, system.name) for model, step, cache, system in found)
    for (model, step, cache, system), count in counts.items():
        assert count == counts[model, step, cache, "ours"] == {
            "local": 1, "imported": 2, "staged": 4, "parked": 6
        }[step], system  # fmt: skip
    shared = [system.name for _, step, _, system in found if step in ("local", "imported")]
    assert all(len(list(run)) == 1 for _, run in groupby(shared))


@pytest.mark.parametrize("step", ["local", "parked"])
def test_a_step_that_never_reads_weights_from_disk_has_no_cold_cache(step: str) -> None:
    found = cells(Options(steps=(step,)), [MODELS["minilm"]], [OURS])
    assert {cache for _, _, cache, _ in found} == {"warm"}


def test_quick_visits_everything_once() -> None:
    options = Options(quick=True).resolved()
    found = cells(options, [MODELS["minilm"]], [OURS, *OTHERS])
    assert len(found) == len(set(found)) == 6
