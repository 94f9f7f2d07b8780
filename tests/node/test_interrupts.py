"""Words of the agent that come while others are read."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

import pytest

from glowplug.core.errors import RequestCancelled
from glowplug.node import wire
from glowplug.node.interrupts import Interrupts
from glowplug.node.messages import CancelRequest


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    agent, worker = wire.socket_pair()
    before = signal.getsignal(signal.SIGUSR1)
    with agent, worker:
        yield agent, worker
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_while_another_is_handled_costs_no_word(ends: tuple[socket.socket, socket.socket]) -> None:
    """Of 2, 1 and 3 only 1 runs: it is stopped when all three are dealt with."""
    agent, worker = ends
    refused: list[int] = []
    let_go: list[int] = []

    def refuse(request: int) -> None:
        signal.raise_signal(signal.SIGUSR1)
        refused.append(request)

    interrupts = Interrupts(worker, refuse, let_go.append)
    signal.signal(signal.SIGUSR1, interrupts.on_signal)
    for request in (2, 1, 3):
        wire.send(agent, CancelRequest(request))
    interrupts.begin((1,))
    with pytest.raises(RequestCancelled):
        signal.raise_signal(signal.SIGUSR1)
    interrupts.end()
    assert (refused, let_go) == ([2, 3], [1])


def test_what_comes_with_the_last_word_is_read_too(ends: tuple[socket.socket, socket.socket]) -> None:
    agent, worker = ends
    refused: list[int] = []

    def refuse(request: int) -> None:
        refused.append(request)
        if request < 4:
            wire.send(agent, CancelRequest(request + 1))
            signal.raise_signal(signal.SIGUSR1)

    interrupts = Interrupts(worker, refuse, refused.append)
    signal.signal(signal.SIGUSR1, interrupts.on_signal)
    wire.send(agent, CancelRequest(1))
    signal.raise_signal(signal.SIGUSR1)
    assert refused == [1, 2, 3, 4]
