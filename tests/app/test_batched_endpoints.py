"""Endpoints that take several requests at once: what they are declared as, and what they may not be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

import glowplug
from glowplug.core.errors import InvalidDeclaration


def test_a_batched_endpoint_is_described_by_what_one_request_sends_and_gets() -> None:
    app = glowplug.App("test")

    @app.model()
    class Model:
        def setup(self) -> None: ...

        @glowplug.endpoint(max_batch=4, max_wait_ms=1.5)
        def double(self, number: list[int], rest: Sequence) -> list[tuple[int, str]]:  # type: ignore[type-arg]
            return [(2 * n, "") if n else ValueError("zero") for n in number]  # type: ignore[misc]

        @glowplug.endpoint
        def items(self, to: int) -> Iterator[int]:
            yield from range(to)

    double, items = app.targets["model"][0].endpoints
    assert [(p.name, p.type) for p in double.parameters] == [("number", "int"), ("rest", "Any")]
    assert (double.returns, double.max_batch, double.max_wait_s) == ("tuple[int, str]", 4, 0.0015)
    assert (items.streams, items.max_batch, items.max_wait_s) == (True, 1, 0.0)
    model: Any = Model
    assert Model().double([1, 2], []) == [(2, ""), (4, "")], "called as it is written"
    assert model.double.local(3, rest=None) == (6, ""), "one request in, one answer out"
    with pytest.raises(ValueError, match="zero"):
        model.double.local(0, None)
    assert list(model.items.local(2)) == [0, 1]


def no_list(text: str) -> list[str]:
    return [text]


def no_result_list(text: list[str]) -> str:
    return text[0]


def with_default(text: list[str] = []) -> list[str]:  # noqa: B006
    return text


def without_arguments() -> list[str]:
    return []


def yielding(text: list[str]) -> Iterator[str]:
    yield from text


def fine(text: list[str]) -> list[str]:
    return text


@pytest.mark.parametrize(
    ("call", "options", "named"),
    [
        (no_list, {}, r"write list\[str\] where text is str"),
        (no_result_list, {}, r"write list\[str\] where return is str"),
        (with_default, {}, "no argument has a default; text has one"),
        (without_arguments, {}, "must take arguments"),
        (yielding, {}, "not yield"),
        (fine, {"max_batch": 0}, "max_batch is a number from 1 to 128"),
        (fine, {"max_batch": 1000}, "max_batch"),
        (fine, {"max_batch": True}, "max_batch"),
        (fine, {"max_wait_ms": -1}, "max_wait_ms is from 0 to 10000"),
        (fine, {"max_wait_ms": "2"}, "max_wait_ms"),
    ],
)
def test_what_cannot_be_batched_is_refused(call: Any, options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidDeclaration, match=named):
        glowplug.App("test").function(**{"max_batch": 8, **options})(call)
