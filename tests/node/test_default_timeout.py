"""A function's module may set a default timeout for sockets: a worker's own have none."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from glowplug.node import wire, zygote
from glowplug.node.messages import Fork
from glowplug.transport.several_gateways import SeveralGateways


@pytest.fixture(autouse=True)
def default_timeout() -> Iterator[None]:
    socket.setdefaulttimeout(0.001)
    yield
    socket.setdefaulttimeout(None)


def test_a_forked_childs_control_socket_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setsid", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(signal, "set_wakeup_fd", lambda _: None)
    monkeypatch.setattr(zygote, "settle_as", lambda message, given, parent: given)
    ours, theirs = wire.socket_pair()
    given: list[socket.socket] = []

    def child(message: Fork, control: socket.socket, extra: list[int]) -> None:
        given.append(control)

    with ours:
        zygote._become_child(Fork("worker", "f.default", "v"), [theirs.detach()], child, ())
        with given[0] as control:
            assert control.gettimeout() is None
            assert list(wire.Receiver(control, Fork).waiting()) == [], "nothing is there"


def test_the_door_of_several_gateways_has_none() -> None:
    ours, theirs = wire.socket_pair()
    door = socket.socket(fileno=theirs.detach())
    with ours:
        worker = SeveralGateways(door)
        assert door.gettimeout() is None
        worker.close()
