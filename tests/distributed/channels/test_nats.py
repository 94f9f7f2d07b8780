"""JetStream: a real server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from glowplug.bench.peers.nats_server import NatsServer, nats_server
from glowplug.distributed.channels import MessageKey, Room
from glowplug.distributed.errors import ChannelClosed, ChannelRefused, ChannelUnavailable
from glowplug.testing.channel_suite import WAIT_S, ChannelSuite, receive_all

pytestmark = pytest.mark.broker

nats = pytest.importorskip("nats", reason="needs the distributed extra")

from glowplug.distributed.channels import nats_outbox  # noqa: E402
from glowplug.distributed.channels.nats import NatsRoom  # noqa: E402
from glowplug.distributed.channels.nats_leftovers import in_streams  # noqa: E402
from glowplug.distributed.channels.nats_link import NatsLink  # noqa: E402


class TestNats(ChannelSuite):
    by_address = True

    @pytest.fixture
    def new_room(self, nats_broker: NatsServer) -> Callable[[], Room]:
        return lambda: NatsRoom(nats_broker.url)

    @pytest.fixture
    def leftovers(self, nats_broker: NatsServer) -> Callable[[], list[str]]:
        async def look() -> list[str]:
            client = await nats.connect(nats_broker.url)
            try:
                return [str(stream.config.name) for stream in await client.jetstream().streams_info()]
            finally:
                await client.close()

        return lambda: asyncio.run(look())


def test_a_server_that_restarts_in_mid_run(nats_broker: NatsServer) -> None:
    with NatsRoom(nats_broker.url).open("restart", 2) as room:
        sender, receiver = room.end(0), room.end(1)
        keys = [MessageKey("restart", 0, layer, 0, 1) for layer in range(4)]
        sender.send([(keys[0], b"before")])
        assert receiver.receive(keys[:1], WAIT_S) == {keys[0]: b"before"}
        sender.send([(keys[1], b"accepted")])
        sender.flush()
        nats_broker.kill()
        sender.send([(keys[2], b"while it is away")])
        away = threading.Thread(target=sender.flush)
        away.start()
        nats_broker.start()
        away.join()
        sender.send([(keys[3], b"after")])
        assert receive_all(receiver, set(keys[1:])) == {
            keys[1]: b"accepted",
            keys[2]: b"while it is away",
            keys[3]: b"after",
        }
        sender.close()
        receiver.close()


def test_what_was_accepted_is_there_for_who_comes_after_a_restart(nats_broker: NatsServer) -> None:
    with NatsRoom(nats_broker.url).open("later", 2) as room:
        key = MessageKey("later", 0, 0, 0, 1)
        sender = room.end(0)
        sender.send([(key, b"kept")])
        sender.flush()
        nats_broker.restart()
        sender.close()
        receiver = room.end(1)
        assert receiver.receive([key], WAIT_S) == {key: b"kept"}
        receiver.close()


def test_a_server_that_stays_away_is_an_error_in_time() -> None:
    with nats_server() as server:
        sender = NatsRoom(server.url, send_timeout_s=0.5).open("away", 2).end(0)
        server.kill()
        sender.send([(MessageKey("away", 0, 0, 0, 1), b"")])
        for call in (
            sender.flush,
            lambda: sender.send([(MessageKey("away", 0, 1, 0, 1), b"")]),
            lambda: sender.receive([MessageKey("away", 0, 0, 1, 0)], WAIT_S),
        ):
            with pytest.raises(ChannelUnavailable, match="worker 0 sends: 1 messages were not stored"):
                call()
        sender.close()
        with pytest.raises(ChannelUnavailable, match="connecting"):
            NatsRoom(server.url).open("away", 2)


def test_who_is_far_ahead_waits_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_outbox, "MOST_BYTES", 100)
    keys = [MessageKey("ahead", 0, layer, 0, 1) for layer in range(2)]
    with nats_server() as server:
        room = NatsRoom(server.url).open("ahead", 2)
        sender, receiver = room.end(0), room.end(1)
        server.kill()
        sender.send([(keys[0], bytes(200))])
        ahead = threading.Thread(target=sender.send, args=([(keys[1], b"waits")],))
        ahead.start()
        assert receiver.receive(keys, 0.05) == {}
        assert ahead.is_alive()
        server.start()
        assert receive_all(receiver, set(keys)) == {keys[0]: bytes(200), keys[1]: b"waits"}
        ahead.join()
        sender.close()
        receiver.close()


def test_a_run_that_is_over_is_told_to_who_still_sends(nats_broker: NatsServer) -> None:
    room = NatsRoom(nats_broker.url).open("over", 2)
    sender = room.end(0)
    room.close()
    sender.send([(MessageKey("over", 0, 0, 0, 1), b"")])
    for call in (
        sender.flush,
        lambda: sender.send([(MessageKey("over", 0, 1, 0, 1), b"")]),
        lambda: sender.receive([MessageKey("over", 0, 0, 1, 0)], WAIT_S),
    ):
        with pytest.raises(ChannelClosed, match="run 'over' is over"):
            call()
    sender.close()


def test_a_link_closes_though_a_task_of_it_kept_its_cancel_to_itself(nats_broker: NatsServer) -> None:
    """As nats-py does where it waits until what was published is written."""
    link, entered = NatsLink(nats_broker.url), threading.Event()

    async def stubborn() -> None:
        entered.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    link.begin(stubborn())
    assert entered.wait(WAIT_S)
    closing = threading.Thread(target=link.close, daemon=True)
    closing.start()
    closing.join(WAIT_S)
    assert not closing.is_alive()


def test_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    with nats_server("--user", "anna", "--pass", "right") as server:
        with pytest.raises(ChannelRefused, match="NATS_USER"):
            NatsRoom(server.url).open("secret", 2)
        monkeypatch.setenv("NATS_USER", "anna")
        monkeypatch.setenv("NATS_PASSWORD", "wrong")
        with pytest.raises(ChannelRefused, match="authorization failed"):
            NatsRoom(server.url).open("secret", 2)
        monkeypatch.setenv("NATS_PASSWORD", "right")
        NatsRoom(server.url).open("secret", 2).close()
    with pytest.raises(ChannelRefused, match="do not belong"):
        NatsRoom("nats://anna:right@127.0.0.1:4222").open("secret", 2)


def test_a_stream_that_is_full_says_so_until_it_is_not(nats_broker: NatsServer) -> None:
    async def hold_at_most(messages: int) -> None:
        client = await nats.connect(nats_broker.url)
        try:
            stream = client.jetstream()
            config = (await stream.stream_info("glowplug-full")).config
            config.max_msgs, config.discard = messages, "new"
            await stream.update_stream(config)
        finally:
            await client.close()

    keys = [MessageKey("full", 0, layer, 0, 1) for layer in range(2)]
    with NatsRoom(nats_broker.url, send_timeout_s=0.3).open("full", 2) as room:
        sender, receiver = room.end(0), room.end(1)
        asyncio.run(hold_at_most(1))
        sender.send([(keys[0], b"fits")])
        sender.flush()
        sender.send([(keys[1], b"does not")])
        with pytest.raises(ChannelUnavailable, match=r"not stored in 0\.3 s: maximum messages exceeded"):
            sender.flush()
        asyncio.run(hold_at_most(2))
        assert receive_all(receiver, set(keys)) == {keys[0]: b"fits", keys[1]: b"does not"}
        sender.close()
        receiver.close()


def test_what_is_fenced_off_leaves_the_server(nats_broker: NatsServer) -> None:
    with NatsRoom(nats_broker.url).open("purge", 2) as room:
        sender, receiver = room.end(0), room.end(1)
        keys = [MessageKey("purge", 0, layer, 0, 1) for layer in range(300)]
        for first in range(0, 300, 50):
            for key in keys[first : first + 50]:
                sender.send([(key, bytes(100))])
            assert len(receive_all(receiver, set(keys[first : first + 50]))) == 50
            receiver.fence(0, first + 50)
        assert asyncio.run(_until_fewer(nats_broker, "glowplug-purge", 150)) < 150
        sender.close()
        receiver.close()


async def _until_fewer(server: NatsServer, stream: str, messages: int) -> int:
    client = await nats.connect(server.url)
    try:
        async with asyncio.timeout(WAIT_S):
            while (left := (await client.jetstream().stream_info(stream)).state.messages) >= messages:
                pass
            return int(left)
    finally:
        await client.close()


@pytest.mark.parametrize("another_is_open", [False, True])
def test_an_opening_that_is_interrupted_leaves_no_stream_but_another_s(
    nats_broker: NatsServer, monkeypatch: pytest.MonkeyPatch, another_is_open: bool
) -> None:
    def streams() -> list[str]:
        return [each.run for each in in_streams(nats_broker.url)]

    wait = NatsLink.wait

    def interrupted(link: NatsLink, work: Coroutine[Any, Any, Any], timeout_s: float, what: str) -> Any:
        if not what.startswith("opening"):
            return wait(link, work, timeout_s, what)
        if another_is_open:
            work.close()
        else:
            wait(link, work, timeout_s, what)
        raise KeyboardInterrupt

    if another_is_open:
        NatsRoom(nats_broker.url).open("interrupted", 2)
    before = streams()
    with monkeypatch.context() as patch:
        patch.setattr(NatsLink, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            NatsRoom(nats_broker.url).open("interrupted", 2)
    assert streams() == before
    NatsRoom(nats_broker.url).join("interrupted", 2).close()
