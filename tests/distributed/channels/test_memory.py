"""Between threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from glowplug.distributed.channels import MessageKey, Room
from glowplug.distributed.channels.memory import MemoryRoom
from glowplug.distributed.errors import ChannelMissing, InboxFull
from glowplug.testing.channel_suite import ChannelSuite


class TestMemory(ChannelSuite):
    by_address = True

    @pytest.fixture
    def new_room(self) -> Callable[[], Room]:
        return MemoryRoom


def test_a_receiver_that_never_fences_is_full_one_day() -> None:
    with MemoryRoom(mailbox_bytes=1000).open("full", 2) as room:
        sender, receiver = room.end(0), room.end(1)
        keys = [MessageKey("full", 0, layer, 0, 1) for layer in range(3)]
        for key in keys[:2]:
            sender.send([(key, bytes(500))])
        assert len(receiver.receive(keys, 0.0)) == 2
        with pytest.raises(InboxFull, match="did not fence off"):
            sender.send([(keys[2], bytes(500))])
        receiver.fence(0, 1)
        sender.send([(keys[2], bytes(500))])
        assert receiver.receive(keys, 0.0).keys() == {keys[2]}


def test_a_run_that_is_over_has_no_ends() -> None:
    room = MemoryRoom().open("over", 2)
    room.close()
    with pytest.raises(ChannelMissing, match="over"):
        room.end(0)
