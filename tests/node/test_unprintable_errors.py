"""Exceptions of a function that cannot be printed, or changed, in real workers of each kind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.node.worker_process import worker_process


class Unprintable(Exception):
    """A traceback asks for its notes."""

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


@dataclass(frozen=True)
class Frozen(Exception):
    """Nothing can be set in it, not even what every exception has."""

    name: str


def raise_frozen() -> None:
    raise Frozen("x")


def yield_frozen() -> Iterator[int]:
    yield 1
    raise_frozen()


def raise_odd() -> None:
    raise Unprintable("never seen")


def yield_odd() -> Iterator[int]:
    yield 1
    raise_odd()


def close_stderr() -> None:
    sys.stderr.close()
    raise LookupError("no such thing")


def echo(text: str) -> str:
    return text


async def echo_soon(text: str) -> str:
    return text


@pytest.mark.parametrize("kind", ["serial", "threaded", "loop"])
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (raise_odd, "Unprintable"),
        (yield_odd, "Unprintable"),
        (raise_frozen, "tests.node.test_unprintable_errors.Frozen: x"),
        (yield_frozen, "tests.node.test_unprintable_errors.Frozen: x"),
        (close_stderr, "LookupError: no such thing"),
    ],
)
def test_the_worker_tells_of_it_and_goes_on(call: Any, message: str, kind: str, capfd: Any) -> None:
    other = echo_soon if kind == "loop" else echo
    with worker_process(other, call, concurrency=1 if kind == "serial" else 2) as worker:
        worker.ask((1, call.__name__, {}))
        answer = worker.answer(1)
        assert (answer.code, answer.message) == ("function_failed", message)
        worker.ask((2, other.__name__, {"text": "goes on"}))
        assert worker.answer(2).value() == "goes on"
    log = capfd.readouterr().err
    assert f"in {call.__name__}" in log
    assert log.rstrip().endswith(message)
