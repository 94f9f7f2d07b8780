"""What the planner counts of a run is what real workers are billed for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glowplug.distributed import assignment
from glowplug.distributed.assignment import Assignment
from glowplug.distributed.channels import room
from glowplug.distributed.partition.baselines import block
from glowplug.distributed.partition.result import Settings
from glowplug.distributed.planning import surveyed
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.runner import run
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.serial import serial
from glowplug.policy.plans.channels.objects import ObjectCalls
from glowplug.policy.plans.model import DELAYS, IDEAL
from glowplug.policy.plans.pipeline import staged
from glowplug.policy.plans.replicas import whole_model
from glowplug.policy.plans.rows import by_rows
from glowplug.policy.plans.spread import Spread
from tests.distributed.nets import small_inputs

pytestmark = pytest.mark.e2e
pytest.importorskip("obstore", reason="needs the distributed extra")
LAYERS, SAMPLES, WORKERS = 12, 60, 3
NETWORK = ChallengeNetwork(1024, LAYERS)


def planned(plan: str) -> tuple[Assignment, Spread]:
    rows = block(NETWORK, Settings(WORKERS))
    problem = surveyed(NETWORK, small_inputs(1024, SAMPLES), SAMPLES, IDEAL, {WORKERS: rows})
    if plan == "rows":
        return assignment.rows(SAMPLES, rows), by_rows(problem, problem.partitions[WORKERS])
    spread = staged(problem, WORKERS, 4)
    return assignment.of_cut(NETWORK, SAMPLES, spread.cut, lambda _: rows), spread


@pytest.mark.parametrize("plan", ["rows", "pipeline"])
def test_over_a_folder_each_call_is_counted(plan: str, tmp_path: Path) -> None:
    """There a look that finds nothing is no call: each part is read once."""
    given, spread = planned(plan)
    x = small_inputs(1024, SAMPLES)
    options = RunOptions(collect="categories")
    found = run(NETWORK, x, given, room("object", url=f"file://{tmp_path}"), options)
    assert np.array_equal(found.output, serial(NETWORK, x).any(axis=0))
    exchange = ObjectCalls().exchange(spread, DELAYS["hop-100ms"])
    counted = found.meter.puts + found.meter.gets + found.meter.lists
    assert counted == pytest.approx(exchange.calls + exchange.messages.sum(), abs=1)
    assert found.meter.put_bytes == pytest.approx(exchange.nbytes, rel=0.1)


def test_a_worker_that_is_alone_makes_no_call(tmp_path: Path) -> None:
    """Not even to open what it needs nobody through, or to hear that this is not there."""
    x = small_inputs(1024, SAMPLES)
    given = assignment.serial(NETWORK, SAMPLES)
    for over in (
        room("object", url=f"file://{tmp_path}"),
        room("nats", url="nats://127.0.0.1:1"),
        room("shared_memory", folder=str(tmp_path)),
    ):
        found = run(NETWORK, x, given, over, RunOptions(checkpoint_layers=4))
        assert np.array_equal(found.output, serial(NETWORK, x))
        assert list(tmp_path.iterdir()) == []
        assert (found.platform_meter.puts, found.meter.messages_sent, found.meter.admin_calls) == (0, 0, 0)
    problem = surveyed(NETWORK, x, SAMPLES, IDEAL, {})
    exchange = ObjectCalls().exchange(whole_model("serial", problem, 1), DELAYS["hop-100ms"])
    assert (exchange.calls, exchange.nbytes) == (0, 0)
