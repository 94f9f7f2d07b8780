"""A function that takes what no request can bring is refused when it is deployed."""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Protocol, TypedDict

import msgspec
import numpy as np
import pytest

from glowplug.bundle.askable import check_arguments
from glowplug.bundle.inspect import inspect_source
from glowplug.core.errors import InvalidDeclaration

SOURCE = """
import glowplug
from pydantic import BaseModel
app = glowplug.App("shop", requirements={requirements})

class Item(BaseModel):
    name: str

@app.model()
class Shop:
    def setup(self): ...

    @glowplug.endpoint
    def price(self, count: int, items: list[Item] | None = None) -> float: ...
"""


class Plain:
    pass


class Colour(enum.Enum):
    RED = "red"


class Named(NamedTuple):
    x: int


class Typed(TypedDict):
    x: int


class Struct(msgspec.Struct):
    x: int


@dataclass
class Data:
    x: int
    path: Path | None = None


class Sized(Protocol):
    def __len__(self) -> int: ...


def takes(kind: Any, *, default: bool = False) -> Callable[..., Any]:
    def required(value: Any) -> None: ...

    def optional(value: Any = None) -> None: ...

    call = optional if default else required
    call.__annotations__["value"] = kind
    return call


@pytest.mark.parametrize(
    "kind",
    [
        Any, object, int, "Unknown", Colour, Named, Typed, Struct, Data, Sized, datetime, bytes, np.ndarray,
        np.ndarray | None, list[np.ndarray], list[Struct], dict[str, Data] | None, Iterable[int], tuple,
        Literal["a"], Annotated[int, msgspec.Meta(gt=0)], NewType("Id", int), typing.TypeVar("T"),
        Mapping[str, Any],
    ],
)  # fmt: skip
def test_what_may_come_is_let_be(kind: Any) -> None:
    check_arguments(takes(kind), 0)


@pytest.mark.parametrize(
    "kind", [Path, Plain, Plain | None, int | Plain, list[Plain], dict[str, list[Plain]], complex]
)
def test_what_no_request_brings_is_named(kind: Any) -> None:
    named = "Path" if kind is Path else "complex" if kind is complex else "Plain"
    with pytest.raises(
        InvalidDeclaration, match=rf"required: argument 'value' is a {named}, which no request"
    ):
        check_arguments(takes(kind), 0)
    check_arguments(takes(kind, default=True), 0)


@dataclass
class Unresolved:
    x: Nowhere  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Unresolved, "Nowhere"),
        (Data | Struct, "more than one"),
        (str | datetime, "more than one str-like type"),
        (np.ndarray | list[float], "custom type"),
        (Annotated[str, msgspec.Meta(ge=1)], "`ge`"),
    ],
    ids=str,
)
def test_what_no_request_could_be_checked_against_is_refused(kind: Any, why: str) -> None:
    with pytest.raises(InvalidDeclaration, match=f"argument 'value' cannot be read from a request: .*{why}"):
        check_arguments(takes(kind), 0)
    check_arguments(takes(kind, default=True), 0)


def test_a_method_is_not_asked_for_its_self() -> None:
    def method(self: Plain, text: str) -> None: ...

    check_arguments(method, 1)


@pytest.mark.parametrize("is_here", [True, False])
def test_a_pydantic_model_is_refused_though_it_has_a_default(is_here: bool, tmp_path: Path) -> None:
    """Also one that only the function's own environment has."""
    if is_here:
        (tmp_path / "pydantic.py").write_text("class BaseModel: ...\n")
    source = tmp_path / "shop.py"
    source.write_text(SOURCE.format(requirements=[] if is_here else ["pydantic"]))
    with pytest.raises(
        InvalidDeclaration, match=r"argument 'items' is a pydantic model, Item, .* TypedDict or"
    ):
        inspect_source(source)
