"""JetStream: what is lost between a server and an end comes again."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from glowplug.bench.peers.nats_server import NatsServer
from glowplug.distributed.channels import Channel, MessageKey
from glowplug.testing.channel_suite import WAIT_S, receive_all
from tests.distributed.channels.lossy_proxy import LossyProxy

pytestmark = pytest.mark.broker

pytest.importorskip("nats", reason="needs the distributed extra")

from glowplug.distributed.channels import nats_end  # noqa: E402
from glowplug.distributed.channels.nats import NatsRoom  # noqa: E402


def test_what_a_broken_connection_loses_comes_again(nats_broker: NatsServer) -> None:
    keys = [MessageKey("cut", 0, layer, 0, 1) for layer in range(3)]
    with LossyProxy(nats_broker.port) as proxy, NatsRoom(nats_broker.url).open("cut", 2) as room:
        sender = room.end(0)
        receiver = NatsRoom(f"nats://127.0.0.1:{proxy.port}").join("cut", 2).end(1)
        sender.send([(keys[0], b"before")])
        assert receiver.receive(keys, WAIT_S) == {keys[0]: b"before"}
        proxy.swallow()
        sender.send([(keys[1], b"lost")])
        sender.flush()
        proxy.cut_after_some_was_lost()
        sender.send([(keys[2], b"after")])
        assert receive_all(receiver, set(keys[1:])) == {keys[1]: b"lost", keys[2]: b"after"}
        sender.close()
        receiver.close()


def test_what_is_lost_on_a_connection_that_holds_comes_again(
    nats_broker: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next message shows that one is missing, or the server says how many it has pushed."""
    monkeypatch.setattr(nats_end, "_HEARTBEAT_S", 0.1)
    keys = [MessageKey("gap", 0, layer, 0, 1) for layer in range(4)]
    with NatsRoom(nats_broker.url).open("gap", 2) as room:
        sender, receiver = room.end(0), room.end(1)
        sender.send([(keys[0], b"before")])
        assert receiver.receive(keys, WAIT_S) == {keys[0]: b"before"}
        for lost, following in ((keys[1], keys[2]), (keys[3], None)):
            dropped = drop_next_message(receiver)
            sender.send([(lost, b"lost")])
            assert dropped.wait(WAIT_S)
            if following is not None:
                sender.send([(following, b"after")])
            wanted = {lost} | ({following} if following is not None else set())
            assert receive_all(receiver, wanted).keys() == wanted
        sender.close()
        receiver.close()


def drop_next_message(receiver: Channel) -> threading.Event:
    """As a client does that has no room for it: it never comes to the end's callback."""
    dropped = threading.Event()
    client = receiver._link.client  # type: ignore[attr-defined]
    process = client._process_msg

    async def process_all_but_one(*message: Any) -> None:
        """`message` is its subscription, subject, reply, content and headers."""
        if message[2].startswith(b"$JS.ACK.") and not dropped.is_set():
            dropped.set()
            client._process_msg = process
            return
        await process(*message)

    client._process_msg = process_all_but_one
    return dropped
