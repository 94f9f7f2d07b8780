"""Rows of activations: every bit comes back, and no bytes make the decoder do harm."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from glowplug.distributed import codec
from glowplug.distributed.codec import decode_rows, encode_columns, encode_rows
from glowplug.distributed.errors import FrameCorrupt, FrameError, FrameMismatch
from tests.depth import examples

NEURONS = 1024
floats = st.one_of(
    st.just(0.0),
    st.sampled_from([0.0, -0.0, 32.0, 1e-45, float("inf"), float("nan")]),
    st.floats(width=32),
)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[codec.Rows, codec.Values]:
    count, samples = draw(st.integers(0, 12)), draw(st.integers(0, 20))
    rows = draw(st.lists(st.integers(0, NEURONS - 1), min_size=count, max_size=count, unique=True))
    different = draw(hnp.arrays(np.float32, (count, samples), elements=floats, fill=st.just(0.0)))
    repeat = draw(st.lists(st.integers(0, max(0, count - 1)), min_size=count, max_size=count))
    return np.array(sorted(rows), np.int32), different[repeat] if count else different


def _same(found: codec.Values, sent: codec.Values) -> bool:
    return found.dtype == np.float32 and np.array_equal(found.view(np.uint32), sent.view(np.uint32))


@given(blocks())
def test_every_bit_comes_back(block: tuple[codec.Rows, codec.Values]) -> None:
    rows, values = block
    came = decode_rows(
        encode_rows(rows, values), samples=values.shape[1], neurons=NEURONS, most_rows=len(rows)
    )
    assert np.array_equal(came.rows, rows)
    assert came.rows.dtype == np.int32
    assert _same(came.values, values)


@given(hnp.arrays(np.uint32, st.tuples(st.integers(1, 5), st.integers(1, 5))))
def test_any_bits_are_kept_also_of_a_nan(bits: np.ndarray[tuple[int, int], np.dtype[np.uint32]]) -> None:
    values, rows = bits.view(np.float32), np.arange(len(bits))
    body = encode_rows(rows, values)
    assert _same(decode_rows(body, samples=bits.shape[1], neurons=9, most_rows=5).values, values)


def test_zero_that_is_negative_is_not_nothing() -> None:
    values = np.array([[0.0, -0.0]], np.float32)
    came = decode_rows(encode_rows(np.array([0]), values), samples=2, neurons=1, most_rows=1)
    assert np.signbit(came.values).tolist() == [[False, True]]


def test_views_of_any_layout() -> None:
    values = np.arange(48, dtype=np.float32).reshape(8, 6)[::2, ::-2]
    came = decode_rows(encode_rows(np.arange(4), values), samples=3, neurons=4, most_rows=4)
    assert _same(came.values, np.ascontiguousarray(values))


def test_what_it_is_for_becomes_small() -> None:
    """Twins: 16 rows alike, one column of four live, values of a few kinds."""
    rng = np.random.default_rng(0)
    live = rng.random(10_000) < 0.25
    different = (rng.integers(0, 4, (10, 10_000)) * 0.5 * live).astype(np.float32)
    values = np.repeat(different, 16, axis=0)
    body = encode_rows(np.arange(160), values)
    assert len(body) < values.nbytes / 500
    assert len(body) < 2 * len(encode_rows(np.arange(10), different))


def test_rows_of_zeros_cost_next_to_nothing() -> None:
    assert len(encode_rows(np.arange(1000), np.zeros((1000, 10_000), np.float32))) < 1000


@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.integers(1, 9), st.integers(1, 200))
@settings(max_examples=examples(50))
def test_many_rows_are_compared_as_few_are(seed: int, count: int, samples: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    different = (rng.integers(0, 3, (kinds, samples)) * 0.5).astype(np.float32)
    bits = different[rng.integers(0, kinds, count)].view(np.uint32)
    which, firsts = codec._different(bits)
    one_by_one = codec._compared(bits)
    assert np.array_equal(which, one_by_one[0])
    assert np.array_equal(firsts, one_by_one[1])


def test_rows_of_one_hash_stay_different() -> None:
    first, second = int(codec._odd()[0]), -int(codec._odd()[1]) % 2**64
    words = np.array([second, first], np.uint64)  # their products cancel, as do those of zeros
    mixed = words ^ (words >> np.uint64(32))
    bits = np.zeros((100, 4), np.uint32)
    bits[50] = mixed.view(np.uint32)
    assert len(set(codec._hashes(bits).tolist())) == 1
    which, firsts = codec._different(bits)
    assert (which.tolist(), firsts.tolist()) == ([0] * 50 + [1] + [0] * 49, [0, 50])


@given(blocks(), st.data())
def test_columns_that_live_give_the_same_bytes(
    block: tuple[codec.Rows, codec.Values], data: st.DataObject
) -> None:
    rows, values = block
    more = data.draw(hnp.arrays(np.bool_, values.shape[1]))
    columns = np.flatnonzero(more | (values.view(np.uint32) != 0).any(axis=0))
    body = encode_columns(rows, np.ascontiguousarray(values[:, columns]), columns, values.shape[1])
    assert body == encode_rows(rows, values)


@pytest.mark.parametrize(
    ("rows", "values"),
    [
        ([1, 0], np.zeros((2, 3), np.float32)),
        ([1, 1], np.zeros((2, 3), np.float32)),
        ([-1, 1], np.zeros((2, 3), np.float32)),
        ([0, 2**31], np.zeros((2, 3), np.float32)),
        ([0], np.zeros((2, 3), np.float32)),
        ([0], np.zeros((1, 3), np.float64)),
        ([0], np.zeros(3, np.float32)),
    ],
)
def test_what_is_no_block_is_refused(rows: list[int], values: codec.Values) -> None:
    with pytest.raises(ValueError, match=r"row ids|no block"):
        encode_rows(np.array(rows), values)


BODY = encode_rows(np.array([3, 5, 9]), np.array([[0, 1, 0], [0, 1, 0], [0, 2, 3]], np.float32))


@pytest.mark.parametrize(
    "expected", [{"samples": 4}, {"samples": 2}, {"neurons": 9}, {"most_rows": 2}, {"most_rows": 0}]
)
def test_another_shape_than_expected(expected: dict[str, int]) -> None:
    with pytest.raises(FrameMismatch):
        decode_rows(BODY, **{"samples": 3, "neurons": 1024, "most_rows": 3, **expected})


@settings(max_examples=examples(100))
@given(st.data())
def test_damaged_bodies_never_harm(data: st.DataObject) -> None:
    """A frame's check stops these before; the decoder does not rely on it."""
    body = bytearray(BODY)
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    _decodes_or_names(bytes(body))


@settings(max_examples=examples(100))
@given(st.tuples(*[st.integers(0, 9)] * 4, st.integers(0, 30)), st.binary(max_size=120))
def test_any_head_with_any_content_never_harms(head: tuple[int, ...], content: bytes) -> None:
    _decodes_or_names(codec._HEAD.pack(*head) + zstandard.ZstdCompressor().compress(content))
    _decodes_or_names(codec._HEAD.pack(*head) + content)


@given(st.binary(max_size=60))
def test_any_bytes_never_harm(body: bytes) -> None:
    _decodes_or_names(body)


def _decodes_or_names(body: bytes) -> None:
    try:
        came = decode_rows(body, samples=3, neurons=1024, most_rows=3)
    except FrameError:
        return
    assert came.values.shape == (len(came.rows), 3)
    assert (np.diff(came.rows) > 0).all()
    assert ((came.rows >= 0) & (came.rows < 1024)).all()


def test_a_bomb_does_not_expand() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(2**26))
    with pytest.raises(FrameCorrupt, match="of the 34 bytes"):
        decode_rows(struct.pack("<IIIIQ", 3, 3, 3, 3, 5) + bomb[:], samples=3, neurons=9, most_rows=3)


@pytest.mark.parametrize(
    "head", [(2**32 - 1, 3, 1, 1, 1), (3, 3, 3, 3, 2**62), (1, 3, 2, 3, 1), (1, 3, 0, 0, 0)]
)
def test_impossible_heads(head: tuple[int, ...]) -> None:
    with pytest.raises(FrameError):
        decode_rows(codec._HEAD.pack(*head), samples=3, neurons=9, most_rows=3)
