"""Workers with an event loop, in real processes: what their functions may do to it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from tests.node.worker_process import worker_process


async def echo(text: str) -> str:
    return text


def take_back() -> list[int]:
    """Asks for what it cancelled itself."""
    with ThreadPoolExecutor(1) as pool:
        futures = [pool.submit(lambda: 1)]
        while not futures[-1].cancel():
            futures.append(pool.submit(lambda: 2))
        return [future.result() for future in futures]


async def cancelled_within() -> None:
    inner = asyncio.ensure_future(asyncio.sleep(1000))
    inner.cancel()
    await inner


def run_cancelled() -> None:
    asyncio.run(cancelled_within())


def yield_cancelled() -> Iterator[int]:
    yield 1
    raise asyncio.CancelledError


async def yield_cancelled_async() -> AsyncIterator[int]:
    yield 1
    await cancelled_within()


_mine = contextvars.ContextVar("mine", default=0)


def threads(to: int) -> Iterator[list[int]]:
    """The thread of each of its steps; what it set is to be reset where it was set."""
    token = _mine.set(to)
    try:
        for _ in range(to):
            yield [threading.get_ident(), _mine.get()]
    finally:
        _mine.reset(token)


@pytest.mark.parametrize(
    "call", [take_back, run_cancelled, cancelled_within, yield_cancelled, yield_cancelled_async]
)
def test_what_a_function_cancelled_itself_is_its_own_error(call: Any, capfd: Any) -> None:
    with worker_process(echo, call, concurrency=2) as worker:
        worker.ask((1, call.__name__, {}))
        answer = worker.answer(1)
        assert (answer.code, answer.message) == (
            "function_failed",
            "RuntimeError: the function raised CancelledError",
        )
        worker.ask((2, "echo", {"text": "goes on"}))
        assert worker.answer(2).value() == "goes on"
    assert f"in {call.__name__}" in capfd.readouterr().err


def test_a_generator_runs_in_one_thread() -> None:
    """Several at once, whose steps take turns."""
    with worker_process(echo, threads, concurrency=4) as worker:
        for first in (0, 4):
            worker.ask(*[(n, "threads", {"to": 20 + n}) for n in range(first, first + 4)])
            for request in range(first, first + 4):
                answer = worker.answer(request)
                assert not answer.code, answer.message
                items = [msgspec.json.decode(line) for line in answer.body.splitlines()]
                assert items == [[items[0][0], 20 + request]] * (20 + request)
