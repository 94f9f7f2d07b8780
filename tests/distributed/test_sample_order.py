"""Samples are worked on in another order than they came, and nobody sees it but who counts bytes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.distributed import assignment, sample_order
from glowplug.distributed.assignment import Share
from glowplug.distributed.channels.base import Address
from glowplug.distributed.codec import encode_rows
from glowplug.distributed.deploying import deploy
from glowplug.distributed.facts import stages
from glowplug.distributed.network import Floats
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.sample_order import by_input, put_back, write_inputs
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.digits import digits


@given(st.data())
def test_samples_stay_in_their_share_and_are_put_back(data: st.DataObject) -> None:
    samples = data.draw(st.integers(0, 40))
    bounds = sorted(data.draw(st.sets(st.integers(0, samples), max_size=5)) | {0, samples})
    shares = [Share(first, end, 0, (0,)) for first, end in pairwise(bounds)]
    shares = shares[data.draw(st.integers(0, 1)) :]
    seed = data.draw(st.integers(0, 9))
    inputs = (np.random.default_rng(seed).random((7, samples)) < 0.5).astype(np.float32)
    order = by_input(inputs, shares)
    assert sorted(order) == list(range(samples))
    much = np.count_nonzero(inputs, axis=0)
    for share in shares:
        inside = order[share.first : share.end]
        assert (share.first <= inside).all()
        assert (inside < share.end).all()
        assert (np.diff(much[inside]) >= 0).all()
    assert np.array_equal(put_back(inputs[:, order], order), inputs)


def test_inputs_are_written_some_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_order, "_BLOCK_VALUES", 20)
    inputs = np.random.default_rng(0).random((7, 9)).astype(np.float32)
    for order in (None, np.arange(9)[::-1]):
        write_inputs(tmp_path / "inputs.npy", inputs, order)
        expected = inputs if order is None else inputs[:, order]
        assert np.array_equal(np.load(tmp_path / "inputs.npy"), expected)
    assert by_input(inputs * (inputs > 0.5)).tolist() == np.lexsort([(inputs > 0.5).sum(axis=0)]).tolist()


def test_inputs_of_one_number_stay_as_they_are() -> None:
    assert by_input(np.ones((3, 5), np.float32)).tolist() == [0, 1, 2, 3, 4]


def test_those_who_live_are_told_in_fewer_bytes() -> None:
    network, x = ChallengeNetwork(1024, 16), digits(1024, 2000, ink=(12, 14))
    assert _last_bytes(network, x[:, by_input(x)]) < 0.7 * _last_bytes(network, x)


def test_samples_are_moved_only_where_bytes_count(tmp_path: Path) -> None:
    network, x = ChallengeNetwork(1024, 2), digits(1024, 30)
    for channel, moved in (("object", True), ("shared_memory", False)):
        (tmp_path / channel).mkdir()
        address = Address(channel, "a-run", 1, {})
        found = deploy(
            network, x, assignment.replicas(network, 30, 1), address, RunOptions(), tmp_path / channel
        )
        assert (found.order is not None) == moved
        there = np.load(found.orders.inputs)
        assert np.array_equal(there, x[:, found.order] if moved else x)


def _last_bytes(network: ChallengeNetwork, x: Floats) -> int:
    """Of some rows of the last layer in one message."""
    *_, last = stages(network, x)
    return len(encode_rows(*last.rows(np.arange(4, dtype=np.int32))))
