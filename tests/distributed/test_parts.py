"""Parts of a network: together they are the network, and each says what it needs and sends."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.core.errors import WeightsError
from glowplug.distributed import deploying
from glowplug.distributed.network import Activation, Floats, Network
from glowplug.distributed.part_file import read_part, write_parts
from glowplug.distributed.partition.baselines import random as random_partition
from glowplug.distributed.partition.result import Partition, Settings
from glowplug.distributed.parts import PartLayer, part_layers
from glowplug.distributed.stored import StoredNetwork, layer_of
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.kernel import Kernel
from glowplug.distributed.workload.serial import serial
from tests.depth import examples


def sparse_network(seed: int, density: float) -> Network:
    """Some rows read nothing, some inputs are read by nobody."""
    rng = np.random.default_rng(seed)
    layers = []
    for before, after in pairwise((7, 6, 9, 5)):
        matrix = np.where(rng.random((after, before)) < density, rng.normal(size=(after, before)), 0)
        layers.append(layer_of(matrix.astype(np.float32), rng.normal(size=after).astype(np.float32)))
    return StoredNetwork(
        layers, [Activation(bias_everywhere=bool(seed % 2), floor=-float(seed % 3)) for _ in layers]
    )


def computed(network: Network, partition: Partition, x: Floats) -> list[Floats]:
    """By role, its rows of the last layer; what goes between roles is what their parts say."""
    outputs: list[Floats] = []
    mailbox: dict[tuple[int, int], Floats] = {}
    for layers in part_layers(network, partition):
        before, outputs = outputs, []
        following: dict[tuple[int, int], Floats] = {}
        for role, layer in enumerate(layers):
            assert layer is not None
            arrived = [mailbox.pop((flow.role, role)) for flow in layer.sources]
            assert [len(rows) for rows in arrived] == [len(flow.rows) for flow in layer.sources]
            head = before[role][: layer.kept] if layer.kept else x[layer.reads]
            outputs.append(_applied(layer, np.concatenate([head, *arrived])))
            for flow in layer.targets:
                following[role, flow.role] = outputs[role][flow.rows]
        assert not mailbox, "what is sent is wanted"
        mailbox = following
    return outputs


def _applied(layer: PartLayer, x: Floats) -> Floats:
    out = np.full((len(layer.rows), x.shape[1]), np.nan, np.float32)
    for group in layer.groups:
        needs = x if group.waits else x[: layer.present]
        Kernel(group.layer, layer.activation)(needs, out, group.slots)
    assert not np.isnan(out).any(), "each row is in a group"
    return out


@given(seed=st.integers(0, 1000), workers=st.integers(1, 5), density=st.sampled_from([0.0, 0.2, 0.6, 1.0]))
@settings(max_examples=examples(40), deadline=None)
def test_parts_compute_what_the_network_does(seed: int, workers: int, density: float) -> None:
    network = sparse_network(seed, density)
    x = np.random.default_rng(seed).normal(size=(network.inputs, 4)).astype(np.float32)
    partition = random_partition(network, Settings(workers, seed=seed))
    whole = serial(network, x)
    for role, rows in enumerate(computed(network, partition, x)):
        assert np.array_equal(rows, whole[partition.rows_of(role, network.layers - 1)])


def test_a_part_comes_back_from_its_file(tmp_path: Path) -> None:
    network = ChallengeNetwork(1024, 8)
    partition = random_partition(network, Settings(3))
    paths = [tmp_path / f"{role}.part" for role in range(3)]
    sent = write_parts(network, partition, paths)
    assert sent == (0, *partition.rows_sent[1:]), "inputs are read, not sent"
    for role, layers in enumerate(zip(*part_layers(network, partition), strict=True)):
        part = read_part(paths[role])
        assert len(part.layers) == 8
        for mine, theirs in zip(part.layers, layers, strict=True):
            assert theirs is not None
            assert np.array_equal(mine.rows, theirs.rows)
            assert mine.height == theirs.height
            assert mine.activation == network.activation(mine.index)
            for one, other in zip(mine.groups, theirs.groups, strict=True):
                assert np.array_equal(one.layer.values, other.layer.values)
                assert np.array_equal(one.layer.indices, other.layer.indices)
    whole = sum(read_part(path).weights_bytes for path in paths)
    assert network.weights_bytes <= whole < 1.1 * network.weights_bytes


@pytest.mark.parametrize("kept_bytes", [0, 10, -1])
def test_a_file_cut_short_is_no_part(kept_bytes: int, tmp_path: Path) -> None:
    network = ChallengeNetwork(1024, 2)
    path = tmp_path / "0.part"
    write_parts(network, random_partition(network, Settings(1)), [path])
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(WeightsError, match="write the parts again"):
        read_part(path)


@pytest.mark.parametrize("at", [200, -40], ids=["weights", "index"])
def test_a_damaged_part_is_none(at: int, tmp_path: Path) -> None:
    network = ChallengeNetwork(1024, 2)
    path = tmp_path / "0.part"
    write_parts(network, random_partition(network, Settings(1)), [path])
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged"):
        read_part(path)


def test_two_runs_that_cut_one_model_at_once_share_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other is done just before this one puts its own in place."""
    network = sparse_network(0, 0.5)
    partition = random_partition(network, Settings(2))
    rename = Path.rename

    def second(source: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        deploying._cached(network, partition, tmp_path)
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", second)
    made = deploying._cached(network, partition, tmp_path)
    assert list(tmp_path.iterdir()) == [made]
    assert {path.name for path in made.iterdir()} == {"0-0.part", "0-1.part", "rows_sent.json"}
