"""Errors of our tree that come out of a function: most are its failure, as any other exception is."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from glowplug.bundle.instantiate import Phases
from glowplug.core.bodies import encode_arguments
from glowplug.core.errors import BY_CODE, InvalidArguments, RequestCancelled, from_code
from glowplug.node import wire
from glowplug.node.roles import failure

from .worker_process import worker_process

TELLING = ("invalid_arguments", "function_failed")
"""What a function may raise on purpose, and is told as it is."""


def inner_answers(code: str) -> str:
    raise from_code(code, "of inner")


async def inner_answers_async(code: str) -> str:
    raise from_code(code, "of inner")


def inner_answers_stream(code: str) -> Iterator[int]:
    yield 1
    raise from_code(code, "of inner")


def inner_answers_batch(code: list[str]) -> list[Any]:
    return [from_code(each, "of inner") for each in code]


def raises(code: str) -> str:
    raise BY_CODE[code]("mine")


def reaches_nothing() -> None:
    raise from_code("unavailable", "nothing answers") from OSError(errno.ENETUNREACH, "unreachable")


def sends_what_cannot_be_sent() -> str:
    encode_arguments({"x": object(), "y": 1j})
    return "sent"


KINDS = pytest.mark.parametrize(
    ("call", "concurrency"),
    [
        *((inner_answers, concurrency) for concurrency in (1, 2)),
        *((inner_answers_stream, concurrency) for concurrency in (1, 2)),
        *((inner_answers_batch, concurrency) for concurrency in (1, 2)),
        (inner_answers_async, 1),
    ],
)


@KINDS
def test_what_another_function_answered_is_this_functions_failure(
    call: Any, concurrency: int, capfd: pytest.CaptureFixture[str]
) -> None:
    batching: dict[str, Any] = {"max_batch": 4} if call is inner_answers_batch else {}
    with worker_process(call, concurrency=concurrency, **batching) as worker:
        for number, code in enumerate(BY_CODE):
            worker.ask((number, call.__name__, {"code": code}))
            answer = worker.answer(number)
            wanted = f"{BY_CODE[code].__name__} ({code}): of inner"
            assert (answer.code, answer.message) == ("function_failed", wanted)
    assert capfd.readouterr().err.count("Traceback") == len(BY_CODE)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_what_a_function_raises_itself_is_its_failure_unless_it_speaks_of_its_arguments(
    concurrency: int,
) -> None:
    with worker_process(raises, concurrency=concurrency) as worker:
        for number, code in enumerate(BY_CODE):
            worker.ask((number, "raises", {"code": code}))
            answer = worker.answer(number)
            if code in TELLING:
                assert (answer.code, answer.message) == (code, "mine")
            else:
                wanted = f"{BY_CODE[code].__name__} ({code}): mine"
                assert (answer.code, answer.message) == ("function_failed", wanted)


def test_arguments_that_a_function_cannot_send_are_not_its_callers() -> None:
    with worker_process(sends_what_cannot_be_sent) as worker:
        worker.ask((1, "sends_what_cannot_be_sent", {}))
        assert worker.answer(1).code == "function_failed"


def test_a_function_that_reaches_nobody_is_told_of_the_network() -> None:
    with worker_process(reaches_nothing) as worker:
        worker.ask((1, "reaches_nothing", {}))
        answer = worker.answer(1)
        assert answer.code == "function_failed"
        assert answer.message.startswith("Unavailable (unavailable): nothing answers\n(")
        assert "network=True" in answer.message


ODD: dict[str, tuple[Callable[[], Exception], str, str, str | None]] = {
    "an error for a message": (lambda: InvalidArguments(ValueError("x")), "invalid_arguments", "x", None),  # type: ignore[arg-type]
    "a number for a field": (lambda: InvalidArguments("x", 3), "invalid_arguments", "x", "3"),  # type: ignore[arg-type]
    "a field that is no text": (
        lambda: InvalidArguments("x", "\ud800"), "invalid_arguments", "x", "\\ud800",
    ),
    "a long field": (lambda: InvalidArguments("x", 10**6 * "y"), "invalid_arguments", "x", 200 * "y"),
    "no message": (lambda: NeverMade("x"), "invalid_arguments", "x", None),
    "a code that is none": (lambda: Numbered("x"), "invalid_arguments", "x", None),
    "a code of its own": (lambda: OwnCode("x"), "invalid_arguments", "x", None),
    "nobody knows of whose call": (
        lambda: OfACall("x"), "function_failed", "OfACall (invalid_arguments): x", None,
    ),
    "a message that raises": (lambda: InvalidArguments(Mute()), "function_failed", "InvalidArguments", None),  # type: ignore[arg-type]
}  # fmt: skip


class NeverMade(InvalidArguments):
    def __init__(self, message: str) -> None:
        pass


class Numbered(InvalidArguments):
    code = 17  # type: ignore[assignment]


class OwnCode(InvalidArguments):
    code = "no_such_thing\ud800" + 70_000 * "x"


class OfACall(InvalidArguments):
    @property
    def of_a_call(self) -> bool:  # type: ignore[override]
        raise LookupError("nobody knows")


class Mute:
    def __str__(self) -> str:
        raise LookupError("no words")


def raises_odd(what: str) -> str:
    if what in ODD:
        raise ODD[what][0]()
    return what


async def raises_odd_async(what: str) -> str:
    return raises_odd(what)


@pytest.mark.parametrize(("call", "concurrency"), [(raises_odd, 1), (raises_odd, 2), (raises_odd_async, 1)])
def test_an_error_that_was_given_something_else_than_texts_is_told_in_words(
    call: Any, concurrency: int
) -> None:
    with worker_process(call, concurrency=concurrency) as worker:
        for number, (what, (_, *wanted)) in enumerate(ODD.items()):
            worker.ask((number, call.__name__, {"what": what}))
            answer = worker.answer(number)
            assert [answer.code, answer.message, answer.field] == wanted
        worker.ask((99, call.__name__, {"what": "goes on"}))
        assert worker.answer(99).value() == "goes on"


def test_a_setup_that_another_function_refused_has_failed() -> None:
    failed = failure(from_code("worker_died", "of inner"))
    assert (failed.code, failed.message) == ("function_failed", "WorkerDied (worker_died): of inner")
    assert failure(InvalidArguments("ours")).code == "invalid_arguments"
    assert failure(RequestCancelled("ours")).code == "cancelled"
    odd = failure(InvalidArguments(ValueError("x")))  # type: ignore[arg-type]
    assert (odd.code, odd.message) == ("invalid_arguments", "x")
    mute = failure(InvalidArguments(Mute()))  # type: ignore[arg-type]
    assert (mute.code, mute.message) == ("function_failed", "InvalidArguments")


@dataclass(frozen=True)
class Frozen(Exception):
    model: str


def test_what_a_block_could_not_pass_on_is_told_all_the_same() -> None:
    """contextlib sets an exception's traceback as it leaves a block, which a frozen dataclass refuses."""
    phases = Phases()
    with pytest.raises(AttributeError) as hidden, phases.phase("import"):
        raise Frozen("m")
    failed = failure(hidden.value)
    assert (failed.code, failed.message) == (
        "function_failed", "tests.node.test_users_errors.Frozen: m",
    )  # fmt: skip
    hidden.value.add_note("(deploy it again)")
    assert failure(hidden.value).message.endswith("Frozen: m\n(deploy it again)")
    own = AttributeError("'NoneType' object has no attribute '__traceback__'")
    own.__context__ = ValueError("another")
    assert failure(own).message == "AttributeError: 'NoneType' object has no attribute '__traceback__'"


def test_a_failure_has_a_bounded_length() -> None:
    long = InvalidArguments("x")
    long.add_note(10**6 * "y")
    assert len(wire.encoded(failure(long))) < 10_000
