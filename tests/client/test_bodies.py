"""What is sent for arguments, and what is made of an answer."""

from __future__ import annotations

import io

import numpy as np
import pytest

from glowplug.answer import parse_server_timing
from glowplug.core.bodies import JSON, NPY, SAFETENSORS, decode_result, encode_arguments
from glowplug.core.errors import InvalidArguments


@pytest.mark.parametrize(
    ("arguments", "content_type", "body"),
    [
        (None, JSON, b"{}"),
        ("hi", JSON, b'"hi"'),
        ({"a": 1, "b": np.array([[1, 2]])}, JSON, b'{"a":1,"b":[[1,2]]}'),
        ({"a": np.float32(0.5)}, JSON, b'{"a":0.5}'),
    ],
)
def test_arguments_become_bodies(arguments: object, content_type: str, body: bytes) -> None:
    assert encode_arguments(arguments) == (content_type, body)


def test_what_has_no_json_form_is_named() -> None:
    with pytest.raises(InvalidArguments, match="object has no JSON form"):
        encode_arguments({"a": object()})
    with pytest.raises(InvalidArguments, match="cannot be sent"):
        encode_arguments(np.array([object()]))


def test_results_are_decoded_by_their_type() -> None:
    stream = io.BytesIO()
    np.save(stream, np.eye(2))
    np.testing.assert_array_equal(decode_result(NPY, stream.getvalue()), np.eye(2))
    assert decode_result("text/plain; charset=utf-8", "hé".encode()) == "hé"
    assert decode_result("application/pdf", b"%PDF") == b"%PDF"
    header = b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{"a":"b"}}'
    body = len(header).to_bytes(8, "little") + header + np.array([1, 2], np.float32).tobytes()
    (array,) = decode_result(SAFETENSORS, body).values()
    np.testing.assert_array_equal(array, np.array([1, 2], np.float32))


def test_server_timing_is_read_back() -> None:
    assert parse_server_timing("queue;dur=1.5, compute;desc=x;dur=2") == {"queue": 0.0015, "compute": 0.002}
    assert parse_server_timing("") == {}
