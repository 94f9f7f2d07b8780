"""Drawn requests to a worker with threads, some cancelled at any moment: each is answered once."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from glowplug.transport.frames import Kind, encode
from tests.node.worker_process import Answer, WorkerProcess, several_gateways, worker_process

ROUNDS = 25
CANCELLED_SHARE = 0.1


def echo(text: str) -> str:
    return text


def perhaps_long(seconds: float) -> float:
    """Mostly over at once, so that it is expected to be."""
    if seconds:
        time.sleep(seconds)
    return seconds


def add_up(to: int) -> int:
    found = 0
    for number in range(to):
        found += number
    return found


def count(to: int, pause_s: float) -> Iterator[int]:
    for number in range(to):
        if pause_s:
            time.sleep(pause_s)
        yield number


def double_batch(number: list[int]) -> list[int]:
    return [2 * each for each in number]


def refuse(text: str) -> None:
    raise LookupError(text)


CALLS = (echo, perhaps_long, add_up, count, double_batch, refuse)


def drawn(chance: random.Random, request: int) -> tuple[int, str, dict[str, Any]]:
    name = chance.choice(["echo", "echo", "perhaps_long", "add_up", "count", "double_batch", "refuse"])
    arguments: dict[str, dict[str, Any]] = {
        "echo": {"text": f"number {request}"},
        "perhaps_long": {"seconds": chance.choice([0.0] * 20 + [0.008])},
        "add_up": {"to": chance.choice([10, 1000, 50_000])},
        "count": {"to": chance.choice([0, 3, 40]), "pause_s": chance.choice([0.0, 0.0, 0.0005])},
        "double_batch": {"number": request},
        "refuse": {"text": "no"},
    }
    return request, name, arguments[name]


def check(answer: Answer, name: str, arguments: dict[str, Any]) -> None:
    if name == "refuse":
        assert (answer.code, answer.message) == ("function_failed", "LookupError: no")
    elif name == "count":
        assert not answer.code
        assert answer.body == b"".join(b"%d\n" % number for number in range(arguments["to"]))
    else:
        (given,) = arguments.values()
        right = {"add_up": add_up, "double_batch": lambda number: 2 * number}.get(name, lambda same: same)
        assert answer.value() == right(given)


def cancel(chance: random.Random, worker: WorkerProcess, request: int) -> None:
    """By the agent, or by the gateway, which drops only what has not begun."""
    if chance.random() < 0.5:
        worker.cancel(request)
    else:
        worker.data.sendall(encode(Kind.CANCEL, request, None))
    with contextlib.suppress(BlockingIOError):
        while True:
            worker._control.sock.recv(1024, socket.MSG_DONTWAIT)


@pytest.mark.parametrize("seed", range(4))
def test_each_request_is_answered_once_and_rightly(seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(seed)
    concurrency = chance.choice([2, 3, 8])
    batching = {"max_batch": 4, "max_wait_ms": 1.0}
    with contextlib.ExitStack() as stack:
        gateways: list[WorkerProcess]
        if seed % 2:
            gateways = stack.enter_context(several_gateways(*CALLS, concurrency=concurrency, **batching))
        else:
            gateways = [stack.enter_context(worker_process(*CALLS, concurrency=concurrency, **batching))]
        request = 0
        for _ in range(ROUNDS):
            asked: dict[int, tuple[WorkerProcess, str, dict[str, Any]]] = {}
            for gateway in gateways:
                some = [drawn(chance, request + n) for n in range(chance.choice([1, 2, 5, 20]))]
                request += len(some)
                asked |= {number: (gateway, name, given) for number, name, given in some}
                for part in (some,) if chance.random() < 0.5 else zip(some, strict=True):
                    gateway.ask(*part)
            unwanted = {number for number in asked if chance.random() < CANCELLED_SHARE}
            for number in unwanted:
                cancel(chance, asked[number][0], number)
            for number, (gateway, name, given) in asked.items():
                answer = gateway.answer(number)
                if answer.code == "cancelled":
                    assert number in unwanted
                else:
                    check(answer, name, given)
        for gateway in gateways:
            assert gateway.answers == {}
            assert len(gateway.order) == len(set(gateway.order))
    said = capfd.readouterr().err
    assert said.count("Traceback") == said.count("LookupError: no"), "no error but those that are asked for"
