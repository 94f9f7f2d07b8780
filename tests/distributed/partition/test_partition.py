from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Network
from glowplug.distributed.partition import methods, store
from glowplug.distributed.partition.methods import METHODS, partition
from glowplug.distributed.partition.result import Partition, Settings, sends
from glowplug.distributed.stored import StoredNetwork
from glowplug.distributed.workload.challenge import ChallengeNetwork
from tests.depth import examples
from tests.distributed.networks import networks

EXTRA = "needs the distributed extra: pip install 'glowplug[distributed]'"
pytest.importorskip("mtkahypar", reason=EXTRA)
pytest.importorskip("numba", reason=EXTRA)


def validate(found: Partition, network: Network) -> None:
    """Every row has one owner; what is sent is what somebody reads and does not have, once; the count is
    right."""
    assert len(found.inputs) == network.inputs
    for index in range(network.layers):
        layer, owners, sources = network.layer(index), found.owners[index], found.sources(index)
        assert owners.dtype == np.int32
        assert len(owners) == network.rows(index)
        assert ((owners >= 0) & (owners < found.workers)).all()
        lists = sends(layer, sources, owners, found.workers)
        assert found.rows_sent[index] == sum(map(len, lists.values()))
        for target in range(found.workers):
            mine = found.rows_of(target, index)
            had = set(np.flatnonzero(sources == target))
            received = [row for (_, to), rows in lists.items() if to == target for row in rows]
            assert len(received) == len(set(received))
            assert not had & set(received)
            assert had & set(layer.take(mine).needed()) | set(received) == set(layer.take(mine).needed())
        for (source, target), rows in lists.items():
            assert source != target
            assert (sources[rows] == source).all()
            assert (np.diff(rows) > 0).all()


@given(
    network=networks(narrowest=5),
    workers=st.integers(1, 5),
    method=st.sampled_from(sorted(METHODS)),
)
@settings(deadline=None, max_examples=examples(40))
def test_any_partition_is_whole(network: StoredNetwork, workers: int, method: str) -> None:
    validate(partition(network, workers, method), network)


def test_layered_sends_far_less_than_random_and_is_even() -> None:
    """Six times less where the network is not permuted; over 120 layers eight times less (measured)."""
    network = ChallengeNetwork(1024, 4)
    found = partition(network, 8)
    assert found.total_rows_sent * 6 < partition(network, 8, "random").total_rows_sent
    assert found.imbalance <= methods.IMBALANCE
    validate(found, network)


@pytest.mark.parametrize("method", ["layered", "random"])
def test_equal_arguments_give_equal_owners(method: str) -> None:
    network = ChallengeNetwork(1024, 7)
    first, second = (partition(network, 5, method) for _ in range(2))
    other = partition(ChallengeNetwork(1024, 7, seed=1), 5, method, seed=1)
    assert all(map(np.array_equal, first.owners, second.owners))
    assert not all(map(np.array_equal, first.owners, other.owners))


def test_the_whole_network_at_once_comes_out_as_a_pipeline() -> None:
    network = ChallengeNetwork(1024, 12)
    found = partition(network, 2, "whole")
    work = np.bincount(np.concatenate(found.owners), minlength=2)
    assert work.max() <= work.mean() * (1 + methods.IMBALANCE)
    assert found.imbalance > 0.5
    assert found.total_rows_sent < partition(network, 2).total_rows_sent


def test_what_was_cut_is_kept_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = ChallengeNetwork(1024, 3)
    made = partition(network, 4, folder=tmp_path)
    monkeypatch.setattr(methods, "METHODS", dict.fromkeys(METHODS, None))
    read = partition(network, 4, folder=tmp_path)
    assert (read.workers, read.method, read.rows_sent) == (made.workers, made.method, made.rows_sent)
    assert np.array_equal(read.inputs, made.inputs)
    assert all(map(np.array_equal, read.owners, made.owners))
    assert all(owner.dtype == np.int32 for owner in read.owners)


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_damaged_file_is_cut_anew(tmp_path: Path, keep: int) -> None:
    network = ChallengeNetwork(1024, 3)
    made = partition(network, 4, "random", folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:keep])
    assert all(map(np.array_equal, partition(network, 4, "random", folder=tmp_path).owners, made.owners))
    assert store.read(path) is not None


def test_each_setting_has_a_file_of_its_own() -> None:
    network, other = ChallengeNetwork(1024, 3), ChallengeNetwork(1024, 3, seed=1)
    names = {
        store.file_name(network, "random", Settings(4)),
        store.file_name(other, "random", Settings(4)),
        store.file_name(network, "layered", Settings(4)),
        store.file_name(network, "random", Settings(5)),
        store.file_name(network, "random", Settings(4, imbalance=0.1)),
        store.file_name(network, "random", Settings(4, seed=1)),
    }
    assert len(names) == 6


def test_more_workers_than_rows_are_refused() -> None:
    network = ChallengeNetwork(1024, 3)
    with pytest.raises(InvalidArguments, match="1025 workers: the narrowest layer has 1024 rows"):
        partition(network, 1025, "random")
    with pytest.raises(InvalidArguments, match="no method rondom: there are layered, whole, random, block"):
        partition(network, 2, "rondom")
    with pytest.raises(InvalidArguments, match="so cut layer by layer"):
        partition(ChallengeNetwork(65536, 120), 2, "whole")
