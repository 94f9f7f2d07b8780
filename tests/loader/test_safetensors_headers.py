"""A header of a safetensors file that is not what it should be is refused, whatever it is instead."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import copy
import json
import struct
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug import loader
from glowplug.loader.contents import read_contents
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.tensors import views
from tests.depth import examples

pytestmark = pytest.mark.torch

WEIGHTS = bytes(range(96))
SOUND: dict[str, Any] = {
    "a": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]},
    "b": {"dtype": "I16", "shape": [24], "data_offsets": [48, 96]},
}

numbers = st.one_of(
    st.integers(-3, 100), st.sampled_from([2**31, 2**63, 2**70, -(2**63)]),
    st.floats(), st.floats(0, 100).map(round).map(float), st.booleans(),
)  # fmt: skip
values = st.recursive(
    st.one_of(numbers, st.none(), st.text(max_size=4), st.sampled_from(["F64", "F99", "BOOL", "", "U8"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
odd = st.one_of(values, st.lists(numbers, max_size=4), st.lists(st.integers(0, 96), min_size=2, max_size=2))


def file_of(header: bytes) -> MemorySource:
    return MemorySource(struct.pack("<Q", len(header)) + header + WEIGHTS, "odd.safetensors")


def loaded(header: bytes) -> dict[str, Any] | None:
    """The tensors; None when it was refused as it should be."""
    try:
        found = read_contents(file_of(header))
        assert found.header.weights_nbytes <= len(WEIGHTS)
        weights = memoryview(bytearray(WEIGHTS)) if found.header.weights_nbytes else None
        made = views(found.header, weights, "odd.safetensors")
    except loader.LoaderError as error:
        told = str(error)
        return None if "odd.safetensors" in told else {"untold": told}
    return {entry.name: value for entry, value in zip(found.header.tensors, made, strict=True)}


@settings(max_examples=examples(400), deadline=None)
@given(data=st.data())
def test_a_field_that_is_something_else_is_refused_or_right(data: st.DataObject) -> None:
    header = copy.deepcopy(SOUND)
    name = data.draw(st.sampled_from(["a", "b"]))
    field = data.draw(st.sampled_from(["dtype", "shape", "data_offsets", None]))
    value = data.draw(odd)
    if field is None:
        header[name] = value
    else:
        header[name][field] = value
    for key, tensor in (loaded(json.dumps(header).encode()) or {}).items():
        assert list(tensor.shape) == header[key]["shape"]
        assert tensor.nbytes == header[key]["data_offsets"][1] - header[key]["data_offsets"][0]


@settings(max_examples=examples(200), deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode()), values))
def test_a_header_that_is_something_else_is_refused(header: Any) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    assert not loaded(text or b" ")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"a":{"shape":', b'{"a":[', b'{"__metadata__":['])
@pytest.mark.parametrize("depth", [100, 5000, 200_000])
def test_a_header_that_is_nested_deep_is_refused(opening: bytes, depth: int) -> None:
    assert loaded(opening * depth) is None
    closing = bytes(reversed(opening)).translate(bytes.maketrans(b"[{", b"]}"), b'a"shpe_mt:d')
    assert not loaded(opening * depth + b"1" + closing * depth)


@pytest.mark.parametrize(
    ("field", "value"),
    [("data_offsets", [0.0, 48.0]), ("shape", [4.0, 3]), ("shape", [True, 12]), ("data_offsets", [-48, 0])],
)
def test_numbers_of_another_kind_are_named_and_refused(field: str, value: Any) -> None:
    header = {**SOUND, "a": {**SOUND["a"], field: value}}
    with pytest.raises(
        loader.WeightsUnreadable, match=rf"odd\.safetensors is .*no safetensors file \(.*{field}"
    ):
        read_contents(file_of(json.dumps(header).encode()))


def test_a_sound_header_is_read_with_its_padding() -> None:
    tensors = loaded(json.dumps({"__metadata__": {"format": "pt"}, **SOUND}).encode() + b"   ")
    assert tensors is not None
    assert tensors["b"].tolist() == torch.frombuffer(bytearray(WEIGHTS[48:]), dtype=torch.int16).tolist()


def test_a_file_that_ends_inside_its_header_is_truncated() -> None:
    content = struct.pack("<Q", 500) + b'{"a":'
    with pytest.raises(loader.WeightsUnreadable, match=r"is truncated .*has 13 bytes, and a header of 500"):
        read_contents(MemorySource(content, "cut.safetensors"))
