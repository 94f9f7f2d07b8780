from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.workload.challenge import BIAS, ChallengeNetwork


@given(index=st.integers(0, 119), seed=st.integers(0, 3), neurons=st.sampled_from([1024, 4096]))
def test_every_row_reads_32_inputs_and_every_input_is_read_by_32_rows(
    index: int, seed: int, neurons: int
) -> None:
    layer = ChallengeNetwork(neurons, 120, seed).layer(index)
    reads = layer.indices.reshape(neurons, 32)
    assert (np.diff(layer.indptr) == 32).all()
    assert (np.diff(reads, axis=1) > 0).all()
    assert (np.bincount(layer.indices, minlength=neurons) == 32).all()
    assert (layer.values == 1 / 16).all()
    assert (layer.bias == np.float32(BIAS[neurons])).all()


def test_rows_read_the_inputs_of_their_place_and_of_the_shifted_one() -> None:
    reads = ChallengeNetwork(1024, 120).layer(2).indices.reshape(1024, 32)
    assert set(reads[3] % 64) == {3, (3 - 4) % 64}
    assert np.array_equal(reads[3], reads[3 + 64])


def test_the_seed_decides_the_permutations_and_only_those() -> None:
    one, same, other = (ChallengeNetwork(1024, 120, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.layer(6).indices, same.layer(6).indices)
    assert not np.array_equal(one.layer(6).indices, other.layer(6).indices)
    assert np.array_equal(one.layer(5).indices, other.layer(5).indices)
    assert one.digest == same.digest != other.digest


def test_a_network_larger_than_memory_is_only_described() -> None:
    network = ChallengeNetwork(16384, 1920)
    assert network.total_edges == 1_006_632_960
    assert network.weights_bytes == 1920 * network.layer(0).nbytes


@pytest.mark.parametrize(("neurons", "layers"), [(1000, 120), (1024, 0)])
def test_others_are_refused(neurons: int, layers: int) -> None:
    with pytest.raises(InvalidArguments, match=r"challenge has 1024, 4096|needs at least one"):
        ChallengeNetwork(neurons, layers)
