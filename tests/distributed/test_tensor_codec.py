"""Dense tensors: every bit comes back, of any dtype and shape."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from glowplug.distributed import tensor_codec
from glowplug.distributed.channels import MessageKey
from glowplug.distributed.errors import FrameCorrupt, FrameError, FrameMismatch
from glowplug.distributed.frame import Assembly, Kind, frames
from glowplug.distributed.tensor_codec import DTYPES, decode_tensor, encode_tensor

tensors = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


@given(tensors, st.sampled_from([None, 1, 3]))
def test_every_bit_comes_back(sent: np.ndarray[Any, Any], level: int | None) -> None:
    came = decode_tensor(encode_tensor(sent, level), most_bytes=sent.nbytes)
    assert (came.dtype, came.shape) == (sent.dtype, sent.shape)
    assert came.tobytes() == sent.tobytes()
    assert not came.flags.writeable


def test_layouts_that_are_not_plain() -> None:
    sent = np.arange(24, dtype=">f4").reshape(4, 6).T[::2]
    assert np.array_equal(decode_tensor(encode_tensor(sent), most_bytes=100), sent)


@pytest.mark.parametrize("limit_bytes", [100, 10_000])
def test_through_frames_it_is_aligned(limit_bytes: int) -> None:
    key = MessageKey("run", 0, 0, 0, 1)
    sent = np.random.default_rng(0).random((7, 11))
    assembly = Assembly([key])
    came = []
    for message in frames(key, Kind.TENSOR, encode_tensor(sent), limit_bytes):
        came += assembly.add(dict([message]))
    [(_, payload)] = came
    found = decode_tensor(payload.body, most_bytes=10_000)
    assert np.array_equal(found, sent)
    assert found.flags.aligned


@pytest.mark.parametrize("dtype", [object, "U3", "M8[s]", "V4"])
def test_what_is_no_number_is_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        encode_tensor(np.empty(2, dtype))


def test_a_tensor_larger_than_expected() -> None:
    with pytest.raises(FrameMismatch, match="40 bytes came, and at most 39"):
        decode_tensor(encode_tensor(np.zeros(10, np.float32)), most_bytes=39)


@given(st.data(), st.sampled_from([None, 1]))
def test_damage_never_harms(data: st.DataObject, level: int | None) -> None:
    body = bytearray(encode_tensor(np.arange(6, dtype=np.float32).reshape(2, 3), level))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    _decodes_or_names(bytes(body[: data.draw(st.integers(0, len(body)))]))


@given(st.binary(max_size=60))
def test_any_bytes_never_harm(body: bytes) -> None:
    _decodes_or_names(body)


def _decodes_or_names(body: bytes) -> None:
    try:
        came = decode_tensor(body, most_bytes=1000)
    except FrameError:
        return
    assert came.nbytes <= 1000


@pytest.mark.parametrize("shape", [(2**40, 0, 2**40), (2**63,), (2**32, 2**32)])
def test_shapes_beyond_reason(shape: tuple[int, ...]) -> None:
    head = tensor_codec._HEAD.pack(0, len(shape), 0) + struct.pack(f"<{len(shape)}Q", *shape)
    with pytest.raises((FrameCorrupt, FrameMismatch)):
        decode_tensor(head, most_bytes=1000)
