"""Bodies in, checked arguments out; results in, bodies out."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from glowplug.core.bodies import JSON, NPY, OCTETS
from glowplug.core.errors import GlowplugError, InvalidArguments
from glowplug.node.arguments import Signature
from glowplug.node.arrays import npy_pieces, read_npy
from glowplug.node.results import encode_result
from tests.depth import examples


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


def perhaps(x: int | None = None) -> None: ...


def some_day(day: datetime.date = datetime.date.min) -> None: ...


def masked(image: np.ndarray, mask: np.ndarray | None = None) -> None: ...


def nothing() -> None: ...


def anything(value) -> Any:  # type: ignore[no-untyped-def]
    return value


def keyed(ages: dict[int, str], *, when: datetime.date | None = None) -> None: ...


def optional_mapping(options: dict[str, int] | None = None) -> None: ...


def loose(text: str, at: Nowhere = None) -> None: ...  # type: ignore[name-defined, assignment]  # noqa: F821


NAMES = st.sampled_from(
    ["text", "a", "b", "image", "scale", "options", "at", "x", "y", "data", "value", "ages", "when"]
)


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
        (perhaps, b"{}", {}),
        (perhaps, b'{"x": null}', {"x": None}),
        (perhaps, b"3", {"x": 3}),
        (some_day, b"{}", {}),
        (optional_mapping, b"{}", {"options": {}}),
        (optional_mapping, b'{"k": 1}', {"options": {"k": 1}}),
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
        (one, b'{"text": "caf\xe9"}', None),
        (anything, b'{"value": ["caf\xe9"]}', None),
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


def test_an_array_that_need_not_be_there() -> None:
    signature = Signature(masked)
    assert signature.decode(JSON, b'{"image": [1], "mask": null}')["mask"] is None
    found = signature.decode(JSON, b'{"image": [1], "mask": [true]}')
    assert (found["mask"].dtype, found["mask"].tolist()) == (bool, [True])
    assert list(signature.decode(JSON, b'{"image": [1]}')) == ["image"]
    with pytest.raises(InvalidArguments, match="'image'"):
        signature.decode(JSON, b'{"image": null}')


@pytest.mark.parametrize(
    ("kind", "listed", "found"),
    [
        (np.float32, b"[1, 2.5]", [1.0, 2.5]),
        (np.uint8, b"[0, 255]", [0, 255]),
        (np.int64, b"[1.0, 2]", [1, 2]),
        (np.bool_, b"[0, 1]", [False, True]),
        (np.uint8, b"[256]", None),
        (np.int32, b"[1.5]", None),
        (np.int32, b"[-3e9]", None),
    ],
)
def test_lists_become_arrays_of_the_type_that_is_asked_for(kind: Any, listed: bytes, found: Any) -> None:
    def call(image: Any) -> None: ...

    call.__annotations__["image"] = NDArray[kind]
    body = b'{"image": %b}' % listed
    if found is None:
        with pytest.raises(InvalidArguments, match="'image' has values that"):
            Signature(call).decode(JSON, body)
        return
    image = Signature(call).decode(JSON, body)["image"]
    assert (image.dtype, image.tolist()) == (np.dtype(kind), found)


def test_the_name_of_an_array_may_be_any_that_python_takes() -> None:
    def call(größe: np.ndarray, x: int = 0) -> None: ...

    found = Signature(call).decode(f"{NPY}; argument=gr%C3%B6%C3%9Fe", npy([1, 2]))
    assert found["größe"].tolist() == [1, 2]


@pytest.mark.torch
def test_tensors_are_what_torch_would_make() -> None:
    torch = pytest.importorskip("torch")

    def call(x: Any, mask: Any = None) -> None: ...

    call.__annotations__ |= {"x": torch.Tensor, "mask": torch.Tensor | None}
    signature = Signature(call)
    found = signature.decode(JSON, b'{"x": [[1.5, 2]], "mask": [1, 0]}')
    assert found["x"].dtype == torch.get_default_dtype() == torch.nn.Linear(2, 1)(found["x"]).dtype
    assert found["mask"].dtype == torch.int64
    assert signature.decode(JSON, b'{"x": [1], "mask": null}')["mask"] is None
    raw = signature.decode(f"{NPY}; argument=x", npy(np.zeros(2)))["x"]
    assert raw.dtype == torch.float64, "as it was sent"


@pytest.mark.torch
def test_a_tensor_of_a_type_that_numpy_does_not_have_can_be_returned() -> None:
    torch = pytest.importorskip("torch")
    half = torch.tensor([1.5, 2.0], dtype=torch.bfloat16, requires_grad=True)
    assert encode_result([np.array([1.0, np.nan]), float("inf")], "")[2] == b"[[1.0,null],null]"
    assert encode_result({"x": half}, "")[2] == b'{"x":[1.5,2.0]}'
    assert np.load(io.BytesIO(b"".join(encode_result(half, NPY)[2]))).tolist() == [1.5, 2.0]


NUMBERS = st.integers(-(2**65), 2**65) | st.floats(allow_nan=False, allow_infinity=False)
KEYS = NAMES | st.text(max_size=3)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=examples(300), deadline=None)
@given(st.dictionaries(NAMES, JSON_VALUES, max_size=3) | JSON_VALUES)
def test_the_short_way_in_is_the_long_way_in(value: Any) -> None:
    """Whatever the body: reading it straight into its types gives what checking each argument does."""
    body = msgspec.json.encode(value)

    def outcome(signature: Signature) -> Any:
        try:
            return repr(sorted(signature.decode(JSON, body).items()))
        except InvalidArguments as error:
            return error.field, error.message

    for call in (
        one, two, array, mapping, point, blob, nothing, anything, keyed, optional_mapping, loose, perhaps,
        some_day, masked,
    ):  # fmt: skip
        long = Signature(call)
        long._decode_whole = None
        assert outcome(Signature(call)) == outcome(long)


def test_a_batch_takes_lists_of_what_each_request_sends() -> None:
    def in_lists(text: list[str], image: Sequence[np.ndarray], rest: list, more) -> list[str]:  # type: ignore[no-untyped-def, type-arg]
        return text

    signature = Signature(in_lists, in_batches=True)
    assert signature.types == {"text": str, "image": np.ndarray, "rest": Any, "more": Any}
    found = signature.decode(JSON, b'{"text": "a", "image": [1, 2], "rest": 1, "more": null}')
    assert isinstance(found.pop("image"), np.ndarray)
    assert found == {"text": "a", "rest": 1, "more": None}


ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    np.arange(10)[::2],
    np.array(3.5),
    np.empty((0, 4), np.float16),
    np.zeros((2, 0, 3)),
    np.array(["a", "bc"]),
    np.array([1, 2], dtype=">i4"),
    np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    np.array(["2026-01-01"], dtype="datetime64[D]"),
    np.array([True, False]),
]


@pytest.mark.parametrize("found", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
@pytest.mark.parametrize("writable", [True, False])
def test_arrays_come_back_as_they_were(found: Any, writable: bool) -> None:
    body = b"".join(npy_pieces(found))
    again = np.load(io.BytesIO(body))
    read = read_npy(memoryview(bytearray(body)) if writable else body)
    for other in (again, read):
        np.testing.assert_array_equal(other, found)
        assert (other.dtype, other.shape) == (found.dtype, found.shape)
    assert read.flags.writeable
    assert read.flags.f_contiguous == found.flags.f_contiguous or not found.flags.contiguous


def test_a_writable_body_is_not_copied() -> None:
    body = bytearray(npy(np.zeros(100)))
    read_npy(memoryview(body))[0] = 1.0
    assert np.load(io.BytesIO(body))[0] == 1.0


@pytest.mark.parametrize("ahead", [1, 4, 8])
def test_an_array_begins_where_kernels_expect_it(ahead: int) -> None:
    """A product with one that begins elsewhere may end in other bits."""
    body = bytearray(npy(np.arange(100.0)))
    moved = memoryview(bytearray(bytes(ahead)) + body)[ahead:]
    array = read_npy(moved)
    assert array.ctypes.data % 16 == 0
    np.testing.assert_array_equal(array, np.arange(100.0))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{}",
        npy(np.zeros(100))[:-1],
        npy(np.zeros(1)).replace(b"(1,)", b"(-1,)"),
        npy(np.zeros(10)).replace(b"(10,)", b"(99999999999999999999,)"),
        npy(np.zeros(1)).replace(b"<f8", b"<x8"),
        b"PK\x03\x04",
        b"\x93NUMPY\x09" + npy(np.zeros(1))[7:],
    ],
)
def test_what_is_no_array_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidArguments, match="npy"):
        Signature(array).decode(NPY, body)


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


@settings(deadline=None)
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


@pytest.mark.parametrize(
    ("kind", "named"),
    [("multipart/form-data; boundary=x", True), (JSON, False), ("application/x-www-form-urlencoded", False)],
)
def test_what_is_no_json_is_told_with_what_it_came_as(kind: str, named: bool) -> None:
    with pytest.raises(InvalidArguments, match="the body is not valid JSON") as raised:
        Signature(two).decode(kind, b"--x")
    assert ("came as multipart/form-data, which is read as JSON" in raised.value.message) is named


def test_a_result_of_no_json_form_says_what_to_do() -> None:
    async def later() -> None: ...

    coroutine = later()
    with pytest.raises(
        GlowplugError, match="a coroutine has no JSON form: what awaits is declared async def"
    ):
        encode_result(coroutine, "")
    coroutine.close()
    with pytest.raises(GlowplugError, match="a range has no JSON form: make a list of it"):
        encode_result(range(3), "")
    with pytest.raises(GlowplugError, match=r"a complex has no JSON form$"):
        encode_result(1j, "")


def test_a_nan_that_json_made_a_null_is_told_of() -> None:
    with pytest.raises(
        InvalidArguments, match=r"must be an array of numbers, and there is a null .*send .npy"
    ):
        Signature(array).decode("application/json", b'{"image": [1.0, null]}')
    with pytest.raises(InvalidArguments, match=r"must be an array of numbers$"):
        Signature(array).decode("application/json", b'{"image": ["a"]}')
