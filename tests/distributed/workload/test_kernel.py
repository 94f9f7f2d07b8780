from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Activation, Floats, Layer
from glowplug.distributed.stored import StoredNetwork, layer_of
from tests.distributed.networks import inputs, networks

pytest.importorskip("numba", reason="needs the distributed extra: pip install 'glowplug[distributed]'")
pytest.importorskip("scipy", reason="needs the distributed extra: pip install 'glowplug[distributed]'")

from glowplug.distributed.workload.grouping import same_inputs
from glowplug.distributed.workload.kernel import Kernel, forward
from glowplug.distributed.workload.oracle import categories, oracle, worst_error
from glowplug.distributed.workload.serial import BLOCK_LAYERS, serial


def same_bits(one: Floats, other: Floats) -> bool:
    return one.shape == other.shape and one.tobytes() == other.tobytes()


@given(data=st.data(), network=networks(exact=True))
@settings(deadline=None)
def test_serial_is_the_oracle_where_fp32_rounds_nothing(data: st.DataObject, network: StoredNetwork) -> None:
    x = data.draw(inputs(network))
    assert np.array_equal(serial(network, x), oracle(network, x))


@given(data=st.data(), network=networks())
@settings(deadline=None)
def test_serial_is_the_oracle_but_for_rounding(data: st.DataObject, network: StoredNetwork) -> None:
    x = data.draw(inputs(network))
    assert (abs(serial(network, x) - oracle(network, x)) <= worst_error(network, x)).all()


@given(data=st.data(), network=networks(), workers=st.integers(1, 6))
@settings(deadline=None)
def test_rows_have_the_same_bits_whoever_computes_them(
    data: st.DataObject, network: StoredNetwork, workers: int
) -> None:
    x = data.draw(inputs(network))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    whole = serial(network, x)
    for index in range(network.layers):
        layer = network.layer(index)
        out = np.full((layer.rows, x.shape[1]), np.nan, np.float32)
        owners = rng.integers(workers, size=layer.rows)
        for worker in range(workers):
            mine = np.flatnonzero(owners == worker).astype(np.int32)
            part = layer.take(mine)
            received = rng.permutation(part.needed())  # in whatever order it came
            Kernel(part.over(received), network.activation(index))(x[received], out, mine)
        x = out
    assert same_bits(x, whole)


@given(data=st.data(), network=networks(), threads=st.integers(1, 3))
@settings(deadline=None)
def test_samples_have_the_same_bits_in_whatever_batch(
    data: st.DataObject, network: StoredNetwork, threads: int
) -> None:
    x = data.draw(inputs(network))
    start = data.draw(st.integers(0, x.shape[1]))
    apart = [serial(network, x[:, :start], threads), serial(network, x[:, start:], threads)]
    assert same_bits(np.concatenate(apart, axis=1), serial(network, x))


@given(networks())
def test_rows_with_the_same_inputs_stand_together(network: StoredNetwork) -> None:
    layer = network.layer(0)
    order, starts = same_inputs(layer)
    read = [layer.indices[a:b].tobytes() for a, b in pairwise(layer.indptr)]
    assert sorted(order) == list(range(layer.rows))
    groups = [{read[row] for row in order[a:b]} for a, b in pairwise(starts)]
    assert all(len(group) == 1 for group in groups)
    assert len(set.union(*groups)) == len(groups) == len(set(read))


@given(data=st.data(), network=networks(exact=True))
@settings(deadline=None)
def test_a_layer_may_write_over_what_it_reads(data: st.DataObject, network: StoredNetwork) -> None:
    x = data.draw(inputs(network))
    expected = serial(network, x)
    room = max(network.inputs, *(network.rows(index) for index in range(network.layers)))
    y = np.concatenate([x, np.zeros((room - len(x), x.shape[1]), np.float32)])
    for index in range(network.layers):
        layer = network.layer(index)
        wide = Layer(room, layer.indptr, layer.indices, layer.values, layer.bias)
        Kernel(wide, network.activation(index))(y, y)
    assert same_bits(y[: len(expected)], expected)


def test_a_network_deeper_than_a_block_loses_its_dead_samples() -> None:
    """Every second sample falls below the bias at some layer."""
    rows, depth = 8, 3 * BLOCK_LAYERS
    network = StoredNetwork([layer_of(np.eye(rows, dtype=np.float32), -0.25)] * depth, Activation())
    x = np.full((rows, 40), 0.5 + depth, np.float32)
    x[:, ::2] = np.arange(1, 21) * 0.25
    expected = np.maximum(0, x - 0.25 * depth)
    before = x.copy()
    assert np.array_equal(serial(network, x), expected)
    assert np.array_equal(x, before)
    assert np.array_equal(categories(expected), np.flatnonzero(x[0] > 0.25 * depth))


def test_a_bias_everywhere_wakes_dead_samples() -> None:
    network = StoredNetwork([layer_of(np.eye(3, dtype=np.float32), 0.5)] * 9, Activation(1.0, True))
    assert np.array_equal(serial(network, np.zeros((3, 5), np.float32)), np.ones((3, 5), np.float32))


def test_arrays_that_nobody_may_write_are_read() -> None:
    """Weights that are mapped from a file, activations that are a message's bytes."""
    layer = layer_of(np.ones((2, 3), np.float32), 0)
    x = np.ones((3, 4), np.float32)
    for array in (layer.indptr, layer.indices, layer.values, layer.bias, x):
        array.flags.writeable = False
    assert np.array_equal(forward(layer, x, Activation()), np.full((2, 4), 3, np.float32))


def test_shapes_that_do_not_fit_are_named() -> None:
    layer = layer_of(np.ones((2, 3), np.float32), 0)
    x = np.ones((3, 4), np.float32)
    with pytest.raises(InvalidArguments, match="reads 3 rows, but is given 2"):
        forward(layer, x[:2], Activation())
    with pytest.raises(InvalidArguments, match=r"2 rows of 4 samples do not fit into \(2, 5\)"):
        forward(layer, x, Activation(), np.empty((2, 5), np.float32))
    with pytest.raises(InvalidArguments, match="a slot is not among the 2 rows"):
        forward(layer, x, Activation(), np.empty((2, 4), np.float32), np.array([1, 2], np.int32))
    with pytest.raises(InvalidArguments, match="reads 3 rows, but is given"):
        serial(StoredNetwork([layer], Activation()), x[:2])
