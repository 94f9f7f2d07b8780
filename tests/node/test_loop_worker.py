"""Workers with an event loop, in real processes: what their functions may do to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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
