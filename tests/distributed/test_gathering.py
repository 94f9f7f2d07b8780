"""What a worker gathers may come long before it waits for that."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from glowplug.distributed.channels.base import MessageKey
from glowplug.distributed.channels.inbox import Inbox
from glowplug.distributed.channels.memory import LIMITS, MemoryChannel, MemoryRoom
from glowplug.distributed.channels.registry import join
from glowplug.distributed.errors import InboxFull
from glowplug.distributed.exchange import Exchange
from glowplug.distributed.frame import Kind
from glowplug.distributed.phases import Phases
from glowplug.distributed.post import InlinePost, Wire
from glowplug.distributed.start import Place
from glowplug.distributed.timing import Timing

STEP, GATHER, LARGE = 1, 9, b"x" * 5000


class PushedTo(MemoryChannel):
    """What is sent to it goes into an inbox at once, as over NATS, with room for little."""

    inbox: Inbox

    def push(self) -> None:
        there = list(self._mailboxes[self.worker].held)
        for key, payload in super().receive(there, 0.0).items():
            self.inbox.put(key, payload)

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        self.inbox.await_these(wanted)
        self.push()
        return self.inbox.take(wanted)


@pytest.mark.parametrize("gathers", [True, False])
def test_logs_of_others_find_room_while_their_root_computes(gathers: bool) -> None:
    with MemoryRoom().open("gathering", 3) as room:
        root, ends = join(room.address, 0), [join(room.address, worker) for worker in (1, 2)]
        assert isinstance(root, MemoryChannel)
        root.__class__ = PushedTo
        assert isinstance(root, PushedTo)
        root.inbox = Inbox(kept_bytes=1000)
        exchange = Exchange(
            Place(room.run, 0), {STEP: (1,), GATHER: (1, 2)}, {}, limit_bytes=LIMITS.max_message_bytes
        )
        wire = Wire(root, exchange, Timing(1.0, 0.0, 1e9), tells=False)
        if gathers:
            wire.gather(GATHER)
        post = InlinePost(wire, lambda step, source, payload: bytes(payload.body), Phases())
        for worker, end in zip((1, 2), ends, strict=True):
            targets = {STEP: (0,), GATHER: (0,)}
            sender = Exchange(Place(room.run, worker), {}, targets, limit_bytes=LIMITS.max_message_bytes)
            if worker == 1:
                end.send(sender.send(STEP, 0, Kind.BYTES, b"small"))
            end.send(sender.send(GATHER, 0, Kind.BYTES, LARGE))
        if not gathers:
            with pytest.raises(InboxFull):
                root.push()
            return
        root.push()
        assert post.wait(STEP) == {1: b"small"}
        assert post.wait(GATHER) == {1: LARGE, 2: LARGE}
