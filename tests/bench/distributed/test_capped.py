"""Part `capped` of `distributed`, small: what one worker may not hold is answered by four."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn", reason="pip install scikit-learn")
pytest.importorskip("numba", reason="pip install 'glowplug[distributed]'")

from glowplug.bench.distributed import experiment
from glowplug.bench.distributed.options import Options
from glowplug.bench.result import Result
from tests.bench.distributed.test_experiment import FIELDS

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def small() -> Result:
    return experiment.run(
        Options(
            parts=("capped",),
            capped_neurons=4096,
            capped_layers=240,
            capped_samples=40,
            capped_workers=4,
            capped_bytes=800 * 10**6,
            capped_oracle_samples=20,
        )
    )


def test_serial_is_refused_and_the_pipeline_answers(small: Result) -> None:
    refused, ran = small.rows
    assert all(row.keys() >= FIELDS for row in small.rows)
    assert (refused["plan"], refused["refused"]) == ("serial", True)
    assert refused["needed_bytes"] > 800 * 10**6
    assert (ran["plan"], ran["equal"]) == ("pipeline", True)
    assert ran["peak_bytes"] < 800 * 10**6


def test_its_claims_hold(small: Result) -> None:
    assert not [claim for claim in small.claims if not claim.holds]
