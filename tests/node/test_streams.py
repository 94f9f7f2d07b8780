"""Endpoints that yield, in real workers of both kinds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from glowplug.core.bodies import EVENTS, LINES, OCTETS
from glowplug.core.errors import FunctionFailed, InvalidArguments
from glowplug.node.results import ItemEncoder
from glowplug.transport.frames import STREAM_WINDOW_BYTES
from tests.node.worker_process import WorkerProcess, until_running, worker_process


def count(to: int) -> Iterator[dict[str, int]]:
    for number in range(to):
        yield {"n": number}


async def count_async(to: int) -> AsyncIterator[dict[str, int]]:
    for number in range(to):
        await asyncio.sleep(0)
        yield {"n": number}


def break_off(after: int) -> Iterator[int]:
    yield from range(after)
    raise InvalidArguments("enough", "after") if after == 0 else LookupError("no more")


def flood(path: str, size: int) -> Iterator[bytes]:
    try:
        while True:
            yield bytes(size)
    finally:
        with open(path, "a") as file:
            file.write("closed\n")


async def flood_async(path: str, size: int) -> AsyncIterator[bytes]:
    try:
        while True:
            yield bytes(size)
    finally:
        await asyncio.sleep(0)
        with open(path, "a") as file:
            file.write("closed\n")


def dawdle(path: str) -> Iterator[str]:
    try:
        yield "first"
        with open(path, "w") as file:
            file.write("running\n")
        while True:
            time.sleep(0.01)
    finally:
        with open(path, "a") as file:
            file.write("closed\n")


async def dawdle_async(path: str) -> AsyncIterator[str]:
    try:
        yield "first"
        with open(path, "w") as file:
            file.write("running\n")
        await asyncio.sleep(1000)
    finally:
        with open(path, "a") as file:
            file.write("closed\n")


def plain(text: str) -> str:
    return text


KINDS = pytest.mark.parametrize(("kind", "concurrency"), [("", 1), ("", 2), ("_async", 1), ("_async", 4)])


def pick(kind: str, concurrency: int, *calls: Any) -> Any:
    """A worker with `calls` of one kind; their names without it."""
    return worker_process(*calls, plain, concurrency=concurrency)


def same(call: Any, kind: str) -> Any:
    return globals()[f"{call.__name__}{kind}"]


@KINDS
def test_items_come_as_lines_and_as_events(kind: str, concurrency: int) -> None:
    call = same(count, kind)
    with pick(kind, concurrency, call) as worker:
        worker.ask((1, call.__name__, {"to": 3}), accept="application/json")
        worker.ask((2, call.__name__, {"to": 2}), accept="text/html, text/event-stream")
        worker.ask((3, call.__name__, {"to": 0}), (4, "plain", {"text": "a"}), (5, call.__name__, {}))
        lines, events, nothing = (worker.answer(n) for n in (1, 2, 3))
        assert (lines.content_type, lines.body) == (LINES, b'{"n":0}\n{"n":1}\n{"n":2}\n')
        assert (events.content_type, events.body) == (EVENTS, b'data: {"n":0}\n\ndata: {"n":1}\n\n')
        assert (nothing.content_type, nothing.body, nothing.streamed) == (LINES, b"", True)
        assert "compute" in nothing.phases or "first_compute" in nothing.phases
        assert worker.answer(4).value() == "a"
        assert worker.answer(5).field == "to"


@pytest.mark.parametrize("concurrency", [1, 2])
def test_an_error_before_the_first_item_is_an_error_and_one_after_it_ends_the_stream(
    concurrency: int,
) -> None:
    with worker_process(break_off, concurrency=concurrency) as worker:
        worker.ask((1, "break_off", {"after": 0}), (2, "break_off", {"after": 2}))
        first, second = worker.answer(1), worker.answer(2)
        assert (first.streamed, first.code, first.field) == (False, "invalid_arguments", "after")
        assert (second.streamed, second.body, second.code) == (True, b"0\n1\n", "function_failed")
        assert second.message == "LookupError: no more"


@KINDS
@pytest.mark.parametrize("size", [1000, STREAM_WINDOW_BYTES * 3])
def test_a_stream_waits_for_credit_and_ends_when_it_is_cancelled(
    kind: str, concurrency: int, size: int, tmp_path: Any
) -> None:
    path = tmp_path / "door"
    call = same(flood, kind)
    with pick(kind, concurrency, call) as worker:
        worker.credits = False
        worker.ask((1, call.__name__, {"path": str(path), "size": size}))
        assert len(worker.streamed(1, STREAM_WINDOW_BYTES)) == STREAM_WINDOW_BYTES
        worker.ask((2, "plain", {"text": "waits"}))
        if concurrency > 1:
            assert worker.answer(2).value() == "waits"
        worker.credit(1, 10)
        assert len(worker.streamed(1, STREAM_WINDOW_BYTES + 10)) == STREAM_WINDOW_BYTES + 10
        worker.cancel(1)
        assert worker.let_go() == 1
        stopped = worker.answer(1)
        assert (stopped.code, len(stopped.body)) == ("cancelled", STREAM_WINDOW_BYTES + 10)
        assert path.read_text() == "closed\n"
        if concurrency == 1:
            assert worker.answer(2).value() == "waits"
        worker.ask((3, "plain", {"text": "c"}))
        assert worker.answer(3).value() == "c"


@KINDS
def test_cancelling_interrupts_what_an_item_is_computed_by(
    kind: str, concurrency: int, tmp_path: Any
) -> None:
    path = tmp_path / "door"
    call = same(dawdle, kind)
    with pick(kind, concurrency, call) as worker:
        worker.ask((1, call.__name__, {"path": str(path)}))
        assert worker.streamed(1, 8) == b'"first"\n', "each item is sent as it comes"
        until_running(path)
        worker.cancel(1)
        assert worker.let_go() == 1
        assert worker.answer(1).code == "cancelled"
        assert path.read_text() == "running\nclosed\n"


def test_a_gateway_that_leaves_ends_the_worker(tmp_path: Any) -> None:
    path = tmp_path / "door"

    def leave(worker: WorkerProcess) -> None:
        worker.credits = False
        worker.ask((1, "flood", {"path": str(path), "size": 1000}))
        worker.streamed(1, STREAM_WINDOW_BYTES)

    with worker_process(flood) as worker:
        leave(worker)
    assert path.read_text() == "closed\n"


def test_the_first_item_decides_the_form() -> None:
    raw = ItemEncoder("text/event-stream")
    assert (raw.encode(b"\x00"), raw.content_type) == (b"\x00", OCTETS)
    with pytest.raises(FunctionFailed, match="str after items of another form"):
        raw.encode("a")
    text = ItemEncoder("text/plain")
    assert (text.encode("h\u00e9"), text.content_type) == ("h\u00e9".encode(), "text/plain; charset=utf-8")
    with pytest.raises(FunctionFailed):
        text.encode(1)
    lines = ItemEncoder("text/plain")
    assert (lines.encode({"a": "\n"}), lines.content_type) == (b'{"a":"\\n"}\n', LINES)
    assert lines.encode("b") == b'"b"\n'
    with pytest.raises(FunctionFailed):
        lines.encode(b"c")
    events = ItemEncoder("text/event-stream, text/plain")
    assert events.encode("two\nlines") == b'data: "two\\nlines"\n\n'
    assert events.encode(np.arange(2)) == b"data: [0,1]\n\n"
    with pytest.raises(FunctionFailed, match="JSON"):
        events.encode(object())
