"""What a schema says must be what a worker does."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from glowplug.bundle.inspect import inspect_source
from glowplug.bundle.schemas import endpoint_schema
from glowplug.core.bodies import NPY
from glowplug.core.errors import InvalidArguments
from glowplug.core.specs import Schemas
from glowplug.node.arguments import Signature
from glowplug.node.arrays import npy_pieces


class Point(msgspec.Struct):
    x: int
    next: Point | None = None


@dataclasses.dataclass
class Shape:
    points: list[Point]


class Odd:
    pass


def takes(kind: Any) -> Callable[..., Any]:
    def call(value: Any) -> None: ...

    call.__annotations__["value"] = kind
    return call


def schemas(call: Callable[..., Any], skip: int = 0) -> Schemas:
    return msgspec.json.decode(endpoint_schema(call, skip), type=Schemas)


@pytest.mark.parametrize(
    ("kind", "schema", "good", "bad"),
    [
        (int, {"type": "integer"}, 3, "3"),
        (str, {"type": "string"}, "a", 1),
        (bytes, {"type": "string", "contentEncoding": "base64"}, "aGk=", 1),
        (list[float], {"type": "array", "items": {"type": "number"}}, [1, 2.5], [None]),
        (typing.Literal["a", "b"], {"enum": ["a", "b"]}, "b", "c"),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None, "x"),
        (dict[str, bool], {"type": "object", "additionalProperties": {"type": "boolean"}}, {"a": True}, 1),
        (Point, {"$ref": "#/$defs/Point"}, {"x": 1, "next": {"x": 2}}, {"x": "1"}),
        (typing.Annotated[int, msgspec.Meta(ge=0, le=9)],
         {"type": "integer", "minimum": 0, "maximum": 9}, 9, 10),
        (typing.Annotated[str, "of any length"], {"type": "string"}, "", 1),
        (typing.Annotated[str, msgspec.Meta(min_length=1)] | None,
         {"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}]}, None, ""),
        (Any, {}, {"any": "thing"}, None),
        (Odd, {}, None, None),
    ],
    ids=str,
)  # fmt: skip
def test_a_schema_and_a_worker_agree(kind: Any, schema: dict[str, Any], good: Any, bad: Any) -> None:
    call = takes(kind)
    assert schemas(call).arguments == {"value": schema}
    signature = Signature(call)
    if good is not None:
        signature.decode("", msgspec.json.encode({"value": good}))
    if bad is not None:
        with pytest.raises(InvalidArguments):
            signature.decode("", msgspec.json.encode({"value": bad}))


def test_an_endpoint_is_described_whole() -> None:
    def call(
        self: Any, shape: Shape, pixels: np.ndarray, top: int = 5, how: str = "best"
    ) -> dict[str, Point]: ...

    found = schemas(call, skip=1)
    assert found.required == ("shape", "pixels")
    assert found.arguments["top"] == {"type": "integer", "default": 5}
    assert found.arguments["pixels"]["type"] == "array"
    assert (found.arrays, found.returns_array, found.streams) == (("pixels",), False, False)
    assert set(found.defs) == {"Shape", "Point"}
    assert found.result == {"type": "object", "additionalProperties": {"$ref": "#/$defs/Point"}}


def test_a_stream_is_described_by_its_parts() -> None:
    def call(prompt: str) -> Iterator[str]: ...

    found = schemas(call)
    assert (found.streams, found.result) == (True, {"type": "string"})


def test_what_yields_is_a_stream_and_what_returns_is_none() -> None:
    def unannotated(n: int):  # type: ignore[no-untyped-def]
        yield n

    def loose(n: int) -> Iterable[int]:
        yield n

    def listed(n: int) -> Iterable[int]:
        return [n]

    assert (schemas(unannotated).streams, schemas(unannotated).result) == (True, {})
    assert (schemas(loose).streams, schemas(loose).result) == (True, {"type": "integer"})
    assert not schemas(listed).streams


def test_of_a_batch_a_request_sees_its_own_part() -> None:
    def call(texts: list[str], images: list[np.ndarray], others: list) -> list[list[float]]: ...  # type: ignore[type-arg]

    found = msgspec.json.decode(endpoint_schema(call, batched=True), type=Schemas)
    assert (found.arguments["texts"], found.arrays) == ({"type": "string"}, ("images",))
    assert found.arguments["others"] == {}
    assert found.result == {"type": "array", "items": {"type": "number"}}


def test_what_cannot_be_described_is_no_error() -> None:
    def unresolved(x: Nowhere) -> Never: ...  # type: ignore[name-defined]  # noqa: F821

    def endless(x: float = float("nan"), y: object = object()) -> np.ndarray: ...

    def partly(x: Nowhere, n: int, y: list[Elsewhere]) -> int: ...  # type: ignore[name-defined]  # noqa: F821

    assert schemas(unresolved).arguments == {"x": {}}
    assert schemas(partly).arguments == {"x": {}, "n": {"type": "integer"}, "y": {}}
    assert schemas(partly).result == {"type": "integer"}
    with pytest.raises(InvalidArguments, match="'n'"):
        Signature(partly).decode("", b'{"x": 1, "n": "no number", "y": 2}')
    assert schemas(endless).arguments["x"] == {"type": "number"}
    assert schemas(endless).returns_array
    huge = typing.Literal[tuple(f"{n:04d}" * 10 for n in range(1000))]  # type: ignore[misc]
    assert endpoint_schema(takes(huge)) == ""


def test_an_array_stays_one_with_a_note_beside_it() -> None:
    noted = typing.Annotated[np.ndarray, "pixels"]
    found = schemas(takes(noted))
    assert (found.arrays, found.arguments["value"]["type"]) == (("value",), "array")
    for kind in (noted, noted | None):
        array = Signature(takes(kind)).decode("", b'{"value": [1, 2]}')["value"]
        assert array.tolist() == [1, 2]
        assert isinstance(array, np.ndarray)
    assert Signature(takes(noted | None)).decode("", b'{"value": null}') == {"value": None}


def test_of_a_batch_each_part_is_checked() -> None:
    small = typing.Annotated[int, msgspec.Meta(le=9)]
    signature = Signature(takes(list[small]), in_batches=True)  # type: ignore[valid-type]
    assert signature.decode("", b"9") == {"value": 9}
    with pytest.raises(InvalidArguments, match="<= 9"):
        signature.decode("", b"10")


@pytest.mark.parametrize("kind", [np.ndarray, np.ndarray | None, npt.NDArray[np.float32] | None], ids=str)
def test_what_a_worker_takes_as_npy_is_offered_as_npy(kind: Any) -> None:
    def returns(): ...  # type: ignore[no-untyped-def]

    returns.__annotations__["return"] = kind
    sent = b"".join(npy_pieces(np.arange(3, dtype=np.float32)))
    for call, in_batches in ((takes(kind), False), (takes(Iterable[kind]), True)):  # type: ignore[valid-type]
        assert Signature(call, in_batches).decode(NPY, sent)["value"].tolist() == [0, 1, 2]
        found = msgspec.json.decode(endpoint_schema(call, batched=in_batches), type=Schemas)
        assert found.arrays == ("value",)
        shown = found.arguments["value"]
        assert [each["type"] for each in shown.get("anyOf", [shown])] == ["array", "null"][
            : 2 - (kind is np.ndarray)
        ]
    assert schemas(returns).returns_array


@pytest.mark.parametrize("listed", [list, Sequence, Iterable])
def test_every_list_that_a_batch_may_be_is_described(listed: Any) -> None:
    call = takes(listed[int])
    found = msgspec.json.decode(endpoint_schema(call, batched=True), type=Schemas)
    assert found.arguments == {"value": {"type": "integer"}}
    with pytest.raises(InvalidArguments):
        Signature(call, in_batches=True).decode("", b'{"value": "3"}')


def test_inspecting_a_source_finds_schemas(tmp_path: Path) -> None:
    source = tmp_path / "described.py"
    source.write_text(
        "import glowplug\napp = glowplug.App('a')\n"
        "@app.function()\ndef f(a: int = 1) -> str: ...\n"
        "@app.model()\nclass M:\n    def setup(self): ...\n"
        "    @glowplug.endpoint\n    def g(self, b: list[str]): ...\n"
    )
    f, m = inspect_source(source).declarations
    found = [msgspec.json.decode(each.endpoints[0].schema, type=Schemas) for each in (f, m)]
    assert found[0].arguments == {"a": {"type": "integer", "default": 1}}
    assert found[0].result == {"type": "string"}
    assert found[1].arguments == {"b": {"type": "array", "items": {"type": "string"}}}
