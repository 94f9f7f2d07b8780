"""Bodies in, checked arguments out; results in, bodies out."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.core.bodies import JSON, NPY, OCTETS
from glowplug.core.errors import GlowplugError, InvalidArguments
from glowplug.node.arguments import Signature
from glowplug.node.results import encode_result


class Point(msgspec.Struct):
    x: int
    y: int = 0


def one(text: str) -> str:
    return text


def two(a: int, b: float = 1.0) -> float:
    return a + b


def array(image: np.ndarray, scale: float = 1.0) -> np.ndarray:
    return image * scale


def mapping(options: dict[str, int]) -> int:
    return len(options)


def point(at: Point) -> int:
    return at.x


def blob(data: bytes) -> int:
    return len(data)


def nothing() -> None: ...


def anything(value) -> Any:  # type: ignore[no-untyped-def]
    return value


def npy(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(values))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("call", "body", "arguments"),
    [
        (one, b'{"text": "a"}', {"text": "a"}),
        (one, b'"a"', {"text": "a"}),
        (two, b'{"a": 1}', {"a": 1}),
        (two, b'{"a": 1, "b": 2}', {"a": 1, "b": 2.0}),
        (mapping, b'{"options": {"k": 1}}', {"options": {"k": 1}}),
        (mapping, b'{"k": 1}', {"options": {"k": 1}}),
        (point, b'{"x": 1}', {"at": Point(1)}),
        (point, b'{"at": {"x": 1, "y": 2}}', {"at": Point(1, 2)}),
        (nothing, b"", {}),
        (nothing, b"{}", {}),
        (anything, b"[1, 2]", {"value": [1, 2]}),
    ],
)
def test_json_bodies(call: Callable[..., Any], body: bytes, arguments: dict[str, Any]) -> None:
    assert Signature(call).decode(JSON, body) == arguments


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        (one, b'{"text": 5}', "text"),
        (one, b"{}", "text"),
        (one, b'{"txt": "a"}', "text"),
        (two, b'{"a": "x"}', "a"),
        (two, b'{"a": 1, "c": 2}', "c"),
        (two, b"[1]", None),
        (two, b"{", None),
        (two, b"\xff", None),
        (point, b'{"at": {"y": 1}}', "at"),
        (array, b'{"image": [[1], [1, 2]]}', "image"),
        (array, b'{"image": ["a"]}', "image"),
        (nothing, b'{"a": 1}', "a"),
    ],
)
def test_what_does_not_fit_names_the_field(call: Callable[..., Any], body: bytes, field: str | None) -> None:
    with pytest.raises(InvalidArguments) as refused:
        Signature(call).decode(JSON, body)
    assert refused.value.field == field


def test_arrays_travel_raw_and_as_lists() -> None:
    signature = Signature(array)
    raw = signature.decode(NPY, npy([[1, 2]]))["image"]
    listed = signature.decode(JSON, b'{"image": [[1, 2]]}')["image"]
    assert raw.tolist() == listed.tolist() == [[1, 2]]
    _, kind, body = encode_result(np.ones(2, np.float32), NPY)
    assert kind == NPY
    assert np.load(io.BytesIO(b"".join(body))).dtype == np.float32
    assert encode_result({"a": np.float32(1.5), "b": np.arange(2)}, "")[2] == b'{"a":1.5,"b":[0,1]}'


def test_a_pickle_in_an_npy_is_not_opened() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([object()]), allow_pickle=True)
    with pytest.raises(InvalidArguments, match="npy"):
        Signature(array).decode(NPY, stream.getvalue())


def test_bytes_in_and_out() -> None:
    assert Signature(blob).decode(OCTETS, b"\x00\x01") == {"data": b"\x00\x01"}
    assert encode_result(b"\x00", "")[1:] == (OCTETS, [b"\x00"])
    with pytest.raises(InvalidArguments):
        Signature(two).decode(OCTETS, b"x")


def test_a_result_without_a_json_form_is_the_functions_fault() -> None:
    with pytest.raises(GlowplugError, match="JSON"):
        encode_result(object(), "")


@given(
    st.binary(max_size=200),
    st.sampled_from([JSON, NPY, OCTETS, "application/vnd.safetensors", "text/plain", "?"]),
)
def test_any_body_is_read_or_refused(body: bytes, kind: str) -> None:
    for call in (one, two, array, mapping, point, nothing):
        try:
            Signature(call).decode(kind, body)
        except InvalidArguments:
            continue
