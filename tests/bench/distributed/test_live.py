"""The live parts of `distributed`, small: the commands behind the claims work."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn", reason="pip install scikit-learn")
pytest.importorskip("mtkahypar", reason="pip install 'glowplug[distributed]'")

from glowplug.bench.distributed import experiment
from glowplug.bench.distributed.baselines import mpi_program
from glowplug.bench.distributed.live import PLANS
from glowplug.bench.distributed.options import Options
from glowplug.bench.result import Result
from tests.bench.distributed.test_experiment import FIELDS

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def small() -> Result:
    return experiment.run(
        Options(
            parts=("live", "faults"),
            neurons=(1024,),
            layers=8,
            real_channels=("shared_memory", "object (folder)"),
            real_samples=30,
            real_workers=2,
            fault_runs=2,
            repeats=1,
        )
    )


def test_every_row_has_the_fields_of_the_experiment(small: Result) -> None:
    for row in small.rows:
        assert row.keys() >= FIELDS
        assert row["simulated"] is False
        assert row["equal"]


def test_live_has_ours_and_the_baselines(small: Result) -> None:
    rows = [row for row in small.rows if row["part"] == "live"]
    ours = [*(("ours", plan) for plan in PLANS), ("ours", "rows")]
    baselines = [*([("mpi", "rows")] if mpi_program() else []), ("server", "serial")]
    assert [(row["system"], row["plan"]) for row in rows] == [*ours, *baselines]
    assert all(row["total_s"] >= row["worked_s"] > 0 for row in rows)
    assert all(row["usd"] > 0 for row in rows)


def test_faults_are_survived_and_leave_nothing(small: Result) -> None:
    rows = [row for row in small.rows if row["part"] == "faults"]
    assert [row["plan"] for row in rows] == ["rows", "pipeline"]
    assert all(row["restarts"] > 0 for row in rows)
    holds = {claim.name: claim.holds for claim in small.claims}
    assert holds["faults: outputs unlike the clean one's"]
    assert holds["faults: processes, files and messages left behind"]
