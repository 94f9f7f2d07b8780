"""Whatever the plan, the post and the faults: the bits of one worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from glowplug.core.errors import DeadlinePassed
from glowplug.distributed import assignment
from glowplug.distributed.assignment import Assignment
from glowplug.distributed.channels.base import Buffer
from glowplug.distributed.exchange import Exchange
from glowplug.distributed.faults import Faults
from glowplug.distributed.frame import Kind
from glowplug.distributed.network import Floats, Network
from glowplug.distributed.notes import Outgoing
from glowplug.distributed.orders import FIRST
from glowplug.distributed.partition.baselines import random as random_partition
from glowplug.distributed.partition.result import Settings
from glowplug.distributed.platform_line import Response, Told
from glowplug.distributed.post import InlinePost
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.serial import serial
from tests.distributed.nets import dense_network, small_inputs
from tests.distributed.threads import ThreadLine, run_in_threads

LAYERS, SAMPLES = 10, 40
PLANS: dict[str, Callable[[Network], Assignment]] = {
    "serial": lambda network: assignment.serial(network, SAMPLES),
    "replicas": lambda network: assignment.replicas(network, SAMPLES, 3),
    "pipeline": lambda network: assignment.pipeline(network, SAMPLES, (3, 6), 7),
    "rows": lambda network: assignment.rows(SAMPLES, random_partition(network, Settings(3))),
    "hybrid": lambda network: assignment.rows(SAMPLES, random_partition(network, Settings(2)), 2),
}
plans = pytest.mark.parametrize("plan", PLANS)
posts = pytest.mark.parametrize("background", [False, True], ids=["inline", "background"])


@pytest.fixture(scope="module")
def network() -> Network:
    return ChallengeNetwork(1024, LAYERS)


@pytest.fixture(scope="module")
def x(network: Network) -> Floats:
    return small_inputs(network.inputs, SAMPLES)


@pytest.fixture(scope="module")
def expected(network: Network, x: Floats) -> Floats:
    found = serial(network, x)
    alive = found.any(axis=0).mean()
    assert 0 < alive < 1, "some samples die out, and some do not"
    return found


@plans
@posts
def test_every_plan_gives_the_bits_of_one_worker(
    plan: str, background: bool, network: Network, x: Floats, expected: Floats, tmp_path: Path
) -> None:
    options = RunOptions(
        background=background,
        form="light" if background else "plain",
        barrier=True,
        checkpoint_layers=4,
        deadline_s=60,
    )
    output, responses, deployed = run_in_threads(network, x, PLANS[plan](network), options, tmp_path)
    assert np.array_equal(output, expected)
    sent = sum(response.meter.messages_sent for response in responses)
    assert (sent > 0) == (plan != "serial")
    assert (deployed.total_rows_sent > 0) == (plan in ("pipeline", "rows", "hybrid"))


@plans
def test_categories_are_the_samples_that_live(
    plan: str, network: Network, x: Floats, expected: Floats, tmp_path: Path
) -> None:
    options = RunOptions(collect="categories", deadline_s=60)
    output, _, _ = run_in_threads(network, x, PLANS[plan](network), options, tmp_path)
    assert np.array_equal(output, expected.any(axis=0))


@posts
@pytest.mark.parametrize("plan", ["rows", "pipeline"])
@pytest.mark.parametrize("seed", range(2))
def test_a_bad_channel_changes_no_bit(
    plan: str, background: bool, seed: int, network: Network, x: Floats, expected: Floats, tmp_path: Path
) -> None:
    faults = Faults(seed=seed, drop=0.03, corrupt=0.03, duplicate=0.1, late=0.1, delay=0.1, delay_s=0.01)
    options = RunOptions(background=background, keep=True, stall_s=0.05, faults=faults, deadline_s=60)
    output, responses, _ = run_in_threads(network, x, PLANS[plan](network), options, tmp_path)
    assert np.array_equal(output, expected)
    if plan == "rows":
        assert sum(response.sent_again for response in responses) > 0


class Dying(ThreadLine):
    """Goes when it would say that it is done."""

    def tell(self, what: Told) -> None:
        if isinstance(what, Response):
            raise ConnectionResetError(what.place.worker)


@pytest.mark.parametrize("dies", [0, 1])
def test_who_dies_before_its_response_has_not_told_others_that_it_needs_nothing(
    dies: int, network: Network, x: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would have left, or forgotten what its successor asks for."""
    told: list[tuple[int, int]] = []

    class Noting(InlinePost):
        def done(self, step: int) -> None:
            told.append((self._exchange.place.worker, step))
            super().done(step)

    monkeypatch.setattr("glowplug.distributed.work.InlinePost", Noting)
    options = RunOptions(background=False, keep=True, checkpoint_layers=4, stall_s=0.01, deadline_s=60)
    with pytest.raises(ConnectionResetError):
        run_in_threads(network, x, PLANS["rows"](network), options, tmp_path, lines={dies: Dying()})
    gather = FIRST + LAYERS
    assert {worker for worker, step in told if step > gather} == {0, 1, 2} - {dies}


@posts
def test_what_never_comes_ends_with_the_deadline(
    background: bool, network: Network, x: Floats, tmp_path: Path
) -> None:
    options = RunOptions(
        background=background, keep=True, stall_s=0.1, faults=Faults(drop=1.0), deadline_s=0.5
    )
    with pytest.raises(DeadlinePassed, match="did not send what step"):
        run_in_threads(network, x, PLANS["rows"](network), options, tmp_path)


@posts
def test_who_keeps_without_checkpoints_keeps_a_few_layers(
    background: bool, x: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As workers do once a run went back over a queue. They hear every eight layers what others are done
    with."""
    deep = ChallengeNetwork(1024, 40)
    kept: list[int] = []

    class Noting(Exchange):
        def send(self, step: int, target: int, kind: Kind, body: Buffer) -> Outgoing:
            found = super().send(step, target, kind, body)
            kept.append(sum(self._kept.get(target, each) is not None for each in range(step + 1)))
            return found

    monkeypatch.setattr("glowplug.distributed.work.Exchange", Noting)
    options = RunOptions(background=background, keep=True, deadline_s=60)
    output, _, _ = run_in_threads(deep, x, PLANS["rows"](deep), options, tmp_path)
    assert np.array_equal(output, serial(deep, x))
    assert 1 < max(kept) < 20


def test_inputs_of_zeros(network: Network, x: Floats, tmp_path: Path) -> None:
    output, responses, _ = run_in_threads(
        network, np.zeros_like(x), PLANS["rows"](network), RunOptions(form="encoded", deadline_s=60), tmp_path
    )
    assert not output.any()
    longest = max(response.meter.message_bytes_sent / response.meter.messages_sent for response in responses)
    assert longest < 200, "that there is nothing is said in few bytes"


def test_a_bias_everywhere_keeps_every_sample(tmp_path: Path) -> None:
    network = dense_network((6, 9, 5, 4), bias_everywhere=True)
    x = np.zeros((6, 3), np.float32)
    spread = assignment.rows(3, random_partition(network, Settings(3)))
    output, _, _ = run_in_threads(network, x, spread, RunOptions(deadline_s=60), tmp_path)
    assert output.any()
    assert np.array_equal(output, serial(network, x))


def test_a_fast_stage_waits_for_a_slow_one(
    network: Network, x: Floats, expected: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glowplug.distributed.deploying.IN_FLIGHT_BYTES", 1)
    spread = assignment.pipeline(network, SAMPLES, (3, 6), 20)
    output, _, deployed = run_in_threads(network, x, spread, RunOptions(deadline_s=60), tmp_path)
    assert deployed.orders.window == 2
    assert np.array_equal(output, expected)
