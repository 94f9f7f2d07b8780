"""Both kinds of worker, in real processes, for several gateways of which one is killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from glowplug.core.errors import RequestCancelled
from tests.node.worker_process import several_gateways, until, until_running


def echo(text: str) -> str:
    return text


async def echo_soon(text: str) -> str:
    await asyncio.sleep(0)
    return text


def wait(path: str) -> str:
    """Says that it runs, and that it was cancelled."""
    try:
        with open(path, "a") as file:
            file.write("running\n")
        time.sleep(1000)
    except RequestCancelled:
        with open(path, "a") as file:
            file.write("cancelled\n")
        raise
    return "never"


def flood(path: str) -> Iterator[bytes]:
    try:
        while True:
            yield bytes(100_000)
    finally:
        with open(path, "a") as file:
            file.write("closed\n")


async def flood_soon(path: str) -> AsyncIterator[bytes]:
    try:
        while True:
            yield bytes(100_000)
    finally:
        with open(path, "a") as file:
            file.write("closed\n")


def double_batch(number: list[float]) -> list[float]:
    return [2 * each for each in number]


@pytest.mark.parametrize("call", [echo, echo_soon])
def test_each_gateway_gets_its_own_answers(call: object) -> None:
    name: str = call.__name__  # type: ignore[attr-defined]
    with several_gateways(call, concurrency=1 if call is echo else 4) as (first, second):  # type: ignore[arg-type]
        first.ask(*((2 * n, name, {"text": f"{n}"}) for n in range(1, 20)))
        second.ask(*((2 * n + 1, name, {"text": f"{-n}"}) for n in range(1, 20)))
        for n in range(1, 20):
            assert first.answer(2 * n).value() == f"{n}"
            assert second.answer(2 * n + 1).value() == f"{-n}"


def test_members_of_one_batch_have_different_gateways() -> None:
    with several_gateways(double_batch, max_batch=8, max_wait_ms=1) as (first, second):
        first.ask(*((2 * n, "double_batch", {"number": n}) for n in range(1, 9)))
        second.ask(*((2 * n + 1, "double_batch", {"number": -n}) for n in range(1, 9)))
        for n in range(1, 9):
            assert first.answer(2 * n).value() == 2 * n
            assert second.answer(2 * n + 1).value() == -2 * n


@pytest.mark.parametrize(("call", "concurrency"), [(flood, 1), (flood, 2), (flood_soon, 2)])
def test_a_stream_to_one_that_is_gone_ends_and_the_other_is_answered(
    tmp_path: Path, call: object, concurrency: int
) -> None:
    name: str = call.__name__  # type: ignore[attr-defined]
    path = tmp_path / "said"
    with several_gateways(call, echo, concurrency=concurrency) as gateways:  # type: ignore[arg-type]
        gone, stays = gateways
        gone.ask((2, name, {"path": str(path)}))
        gone.streamed(2, 1)
        gone.data.close()
        stays.ask((3, "echo", {"text": "still here"}))
        assert stays.answer(3).value() == "still here"
        until(lambda: path.exists(), "the stream does not end")
        after = gateways.another()
        after.ask((4, "echo", {"text": "new here"}))
        assert after.answer(4).value() == "new here"
        after.data.close()


def test_what_ran_for_one_that_is_gone_is_stopped_and_what_waited_is_not_begun(tmp_path: Path) -> None:
    """As the server does it: it cancels what was begun."""
    running, never = tmp_path / "running", tmp_path / "never"
    with several_gateways(wait, echo) as (gone, stays):
        gone.ask((2, "wait", {"path": str(running)}), (4, "wait", {"path": str(never)}))
        until_running(running)
        gone.data.close()
        stays.ask((3, "echo", {"text": "after it"}))
        stays.cancel(2)
        assert stays.let_go() == 2
        assert stays.answer(3).value() == "after it"
        assert running.read_text() == "running\ncancelled\n"
        assert not never.exists()
