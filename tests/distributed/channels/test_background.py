"""Sending beside computing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import pytest

from glowplug.distributed.channels import MessageKey
from glowplug.distributed.channels.background import MOST_SENDS, BackgroundChannel
from glowplug.distributed.channels.base import Buffer, Channel
from glowplug.distributed.channels.memory import MemoryRoom
from glowplug.distributed.channels.metered import Cloud, Delays, metered_room
from glowplug.distributed.errors import ChannelUnavailable

KEYS = [MessageKey("beside", 0, layer, 0, 1) for layer in range(3 * MOST_SENDS)]


def test_a_send_takes_its_worker_no_time_and_a_flush_waits_for_it() -> None:
    cloud = Cloud(delays=Delays(hop_s=0.1, publish_s=0.5))
    time = cloud.time
    with metered_room("queue", cloud).open("beside", 2) as room:
        sender, receiver = BackgroundChannel(room.end(0), time), room.end(1)
        stamps: dict[str, float] = {}

        def sends() -> None:
            sender.send([(KEYS[0], b"first")])
            sender.send([(KEYS[1], b"second")])
            stamps["sent"] = time.now_s()
            sender.flush()
            stamps["flushed"] = time.now_s()

        def receives() -> None:
            assert receiver.receive([KEYS[1]], 60.0) == {KEYS[1]: b"second"}
            stamps["received"] = time.now_s()

        time.run([sends, receives])
        assert stamps == pytest.approx({"sent": 0.0, "received": 0.5 + 0.1, "flushed": 1.0}, abs=0.02)


def test_so_many_layers_ahead_a_sender_waits() -> None:
    cloud = Cloud(delays=Delays(publish_s=1.0))
    with metered_room("queue", cloud).open("beside", 2) as room:
        sender = BackgroundChannel(room.end(0), cloud.time)

        def sends() -> None:
            for key in KEYS:
                sender.send([(key, b"")])
            assert cloud.time.now_s() == pytest.approx(len(KEYS) - MOST_SENDS, abs=1.1)
            sender.flush()

        cloud.time.run([sends])


class Failing:
    """A channel that does not accept anything for a while."""

    def __init__(self, inner: Channel, failures: int) -> None:
        self.worker, self.limits, self.meter = inner.worker, inner.limits, inner.meter
        self.inner, self.failures = inner, failures

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise ChannelUnavailable("not now")
        self.inner.send(messages)

    def flush(self) -> None:
        self.inner.flush()

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        return self.inner.receive(wanted, timeout_s)

    def expect(self, first: int, end: int) -> None:
        self.inner.expect(first, end)

    def left_out(self, wanted: Collection[MessageKey]) -> set[MessageKey]:
        return self.inner.left_out(wanted)

    def reject(self, keys: Collection[MessageKey]) -> None:
        self.inner.reject(keys)

    def fence(self, epoch: int, layer: int) -> None:
        self.inner.fence(epoch, layer)

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def room() -> Iterator[MemoryRoom]:
    with MemoryRoom().open("beside", 2) as opened:
        yield opened


def test_with_threads_everything_arrives(room: MemoryRoom) -> None:
    sender, receiver = BackgroundChannel(room.end(0)), room.end(1)
    for key in KEYS:
        sender.send([(key, str(key.layer).encode())])
    sender.close()
    assert receiver.receive(KEYS, 0.0) == {key: str(key.layer).encode() for key in KEYS}


def test_an_error_is_raised_by_the_next_call_and_sending_again_helps(room: MemoryRoom) -> None:
    sender, receiver = BackgroundChannel(Failing(room.end(0), failures=1)), room.end(1)
    sender.send([(KEYS[0], b"again")])
    with pytest.raises(ChannelUnavailable, match="not now"):
        sender.flush()
    sender.flush()
    assert receiver.receive(KEYS[:1], 0.0) == {}
    sender.send([(KEYS[0], b"again")])
    sender.flush()
    assert receiver.receive(KEYS[:1], 0.0) == {KEYS[0]: b"again"}


def test_receiving_tells_that_a_send_failed(room: MemoryRoom) -> None:
    sender = BackgroundChannel(Failing(room.end(0), failures=9))
    sender.send([(KEYS[0], b"")])
    sender._wait_until_at_most(0)
    with pytest.raises(ChannelUnavailable, match="not now"):
        sender.receive([MessageKey("beside", 0, 0, 1, 0)], 0.0)
