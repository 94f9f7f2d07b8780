"""What nobody should ask for: each is answered all the same, or refused with a reason. In threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from glowplug.core.errors import InvalidArguments, WeightsError
from glowplug.distributed import assignment, frame, worker_ends
from glowplug.distributed.assignment import Assignment
from glowplug.distributed.channels import memory
from glowplug.distributed.channels.base import Buffer, MessageKey
from glowplug.distributed.channels.memory import MemoryChannel
from glowplug.distributed.channels.registry import join
from glowplug.distributed.deploying import deploy
from glowplug.distributed.errors import FrameVersion, LimitTooSmall
from glowplug.distributed.network import Activation, Floats, Network
from glowplug.distributed.orders import VERSION, read_orders, write_orders
from glowplug.distributed.partition.baselines import random as random_partition
from glowplug.distributed.partition.result import Settings
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.stored import StoredNetwork, layer_of
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.serial import serial
from tests.distributed.nets import small_inputs
from tests.distributed.threads import run_in_threads

LAYERS, SAMPLES = 6, 40
PLANS: dict[str, Callable[[Network, int], Assignment]] = {
    "serial": assignment.serial,
    "pipeline": lambda network, samples: assignment.pipeline(network, samples, (2, 4), min(5, samples) or 1),
    "rows": lambda network, samples: assignment.rows(samples, random_partition(network, Settings(3))),
}
plans = pytest.mark.parametrize("plan", PLANS)
posts = pytest.mark.parametrize("background", [False, True], ids=["inline", "background"])


@pytest.fixture(scope="module")
def network() -> Network:
    return ChallengeNetwork(1024, LAYERS)


@pytest.fixture(scope="module")
def x(network: Network) -> Floats:
    return small_inputs(network.inputs, SAMPLES)


@plans
@posts
@pytest.mark.parametrize("samples", [0, 1])
def test_a_batch_of_none_and_of_one(
    samples: int, background: bool, plan: str, network: Network, x: Floats, tmp_path: Path
) -> None:
    some = x[:, 1 : 1 + samples]
    options = RunOptions(background=background, deadline_s=60)
    output, _, _ = run_in_threads(network, some, PLANS[plan](network, samples), options, tmp_path)
    assert output.shape == (1024, samples)
    assert np.array_equal(output, serial(network, some))


def test_no_worker_is_without_a_sample(network: Network) -> None:
    with pytest.raises(InvalidArguments, match="2 samples cannot be split into 3 replicas"):
        assignment.replicas(network, 2, 3)
    with pytest.raises(InvalidArguments, match="0 samples cannot be split into 2 micro_batches"):
        assignment.pipeline(network, 0, (2,), 2)


@plans
@pytest.mark.parametrize("form", ["encoded", "light", "plain"])
def test_inputs_of_zeros(form: str, plan: str, network: Network, x: Floats, tmp_path: Path) -> None:
    options = RunOptions(form=form, deadline_s=60)  # type: ignore[arg-type]
    output, _, _ = run_in_threads(network, np.zeros_like(x), PLANS[plan](network, SAMPLES), options, tmp_path)
    assert output.shape == (1024, SAMPLES)
    assert not output.any()


@plans
@pytest.mark.parametrize("bias_everywhere", [False, True])
def test_rows_that_read_nothing(bias_everywhere: bool, plan: str, tmp_path: Path) -> None:
    """A third of the rows of each layer, and all of one layer."""
    rng = np.random.default_rng(1)
    layers = []
    for number, (before, after) in enumerate(pairwise((9, 12, 9, 15, 6, 12, 9))):
        weights = rng.normal(size=(after, before)).astype(np.float32)
        weights[::3] = 0
        layers.append(layer_of(weights * (number != 3), rng.normal(size=after).astype(np.float32)))
    network = StoredNetwork(layers, Activation(bias_everywhere=bias_everywhere))
    some = rng.normal(size=(9, SAMPLES)).astype(np.float32)
    spread = PLANS[plan](network, SAMPLES)
    output, _, _ = run_in_threads(network, some, spread, RunOptions(deadline_s=60), tmp_path)
    assert output.any() == bias_everywhere, "what comes after the layer of nothing comes of biases"
    assert np.array_equal(output, serial(network, some))


def limit_messages(nbytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory; what is longer is refused."""
    limits = replace(memory.LIMITS, max_message_bytes=nbytes)
    monkeypatch.setattr(memory, "LIMITS", limits)
    monkeypatch.setattr(MemoryChannel, "limits", limits)


@posts
@pytest.mark.parametrize("plan", ["pipeline", "rows"])
def test_a_channel_whose_limit_is_below_one_row(
    plan: str, background: bool, network: Network, x: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of 40 samples has 160 bytes, and a message room for 48."""
    limit_messages(80, monkeypatch)
    options = RunOptions(form="plain", background=background, deadline_s=60)
    spread = (
        assignment.pipeline(network, SAMPLES, (2, 4), 1) if plan == "pipeline" else PLANS[plan](network, 40)
    )
    output, responses, _ = run_in_threads(network, x, spread, options, tmp_path)
    assert np.array_equal(output, serial(network, x))
    assert sum(response.meter.messages_sent for response in responses) > 1000


@posts
def test_a_channel_whose_limit_is_below_a_header(
    background: bool, network: Network, x: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_messages(frame.HEADER_BYTES, monkeypatch)
    options = RunOptions(background=background, deadline_s=1)
    with pytest.raises(LimitTooSmall, match="use a channel that takes larger ones, or a claim check"):
        run_in_threads(network, x, PLANS["rows"](network, SAMPLES), options, tmp_path)


class OlderEnd(MemoryChannel):
    """Of a worker that writes version 0 of frames."""

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        super().send([(key, older(bytes(message))) for key, message in messages])


def older(message: bytes) -> bytes:
    fields, body = message[: frame._FIELDS.size], message[frame.HEADER_BYTES :]
    fields = fields[:2] + b"\0" + fields[3:]
    return fields + frame._CHECK.pack(frame._check(fields, body)) + body


@posts
@pytest.mark.parametrize("keep", [False, True])
def test_a_worker_of_an_older_version(
    keep: bool, background: bool, network: Network, x: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes it for damage, which asking again would mend."""

    def join_as(address: object, worker: int) -> MemoryChannel:
        end = join(address, worker)  # type: ignore[arg-type]
        assert isinstance(end, MemoryChannel)
        if worker == 1:
            end.__class__ = OlderEnd
        return end

    monkeypatch.setattr(worker_ends, "join", join_as)
    options = RunOptions(keep=keep, background=background, stall_s=0.1, deadline_s=3)
    with pytest.raises(
        FrameVersion, match=r"worker 1 writes frames of version 0.*run one version of glowplug"
    ):
        run_in_threads(network, x, PLANS["rows"](network, SAMPLES), options, tmp_path)


def test_orders_of_an_older_version(network: Network, x: Floats, tmp_path: Path) -> None:
    spread = PLANS["rows"](network, SAMPLES)
    with memory.MemoryRoom().open("older", 3) as room:
        deployed = deploy(network, x, spread, room.address, RunOptions(), tmp_path)
    write_orders(replace(deployed.orders, version=1), deployed.path)
    with pytest.raises(WeightsError, match=f"of version 1, and a worker of {VERSION}: run one version"):
        read_orders(deployed.path)
