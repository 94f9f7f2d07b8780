"""What every channel of `distributed.channels` must do. Subclass it and give `new_room`:

    class TestMine(ChannelSuite):
        @pytest.fixture
        def new_room(self):
            return MyRoom

and, where its ends can be taken by an address alone (`registry.join`), `by_address = True`; where one can
look into the service, `leftovers`: a function that names whatever lies there.
"""

from __future__ import annotations

import itertools
import random

import pytest

from glowplug.distributed.channels import Channel, MessageKey, Room
from glowplug.distributed.errors import ChannelClosed, MessageTooLarge
from glowplug.testing.room_suite import WAIT_S, WORKERS, RoomSuite, receive_all

__all__ = ["WAIT_S", "WORKERS", "ChannelSuite", "receive_all"]


class ChannelSuite(RoomSuite):
    def test_what_is_sent_arrives(self, run: str, ends: list[Channel]) -> None:
        key = MessageKey(run, 0, 0, 0, 1)
        ends[0].send([(key, b"payload")])
        assert ends[1].receive([key], WAIT_S) == {key: b"payload"}

    def test_any_bytes_of_any_buffer(self, run: str, ends: list[Channel]) -> None:
        contents = [b"", b"\0", bytes(range(256)), b"\xff" * 1000, "ü\r\n\0".encode()]
        sent = {
            MessageKey(run, 0, 0, 2, 0, chunk): kind(content)
            for chunk, (kind, content) in enumerate(
                itertools.product((bytes, bytearray, memoryview), contents)
            )
        }
        ends[2].send(list(sent.items()))
        came = receive_all(ends[0], set(sent))
        assert came == sent
        assert {type(payload) for payload in came.values()} == {bytes}

    def test_memory_of_wider_elements_counts_by_bytes(self, run: str, ends: list[Channel]) -> None:
        key = MessageKey(run, 0, 0, 0, 1)
        ends[0].send([(key, memoryview(bytearray(range(16))).cast("I"))])
        assert ends[1].receive([key], WAIT_S) == {key: bytes(range(16))}
        assert ends[0].meter.message_bytes_sent == 16

    def test_each_layer_and_chunk_is_a_message_of_its_own(self, run: str, ends: list[Channel]) -> None:
        sent = {
            MessageKey(run, epoch, layer, 0, 1, chunk): f"{epoch} {layer} {chunk}".encode()
            for epoch in (0, 7)
            for layer in (0, 1, 1919)
            for chunk in (0, 1, 300)
        }
        for group in _by_layer(sent):
            ends[0].send(group)
        assert receive_all(ends[1], set(sent)) == sent

    def test_all_to_all(self, run: str, ends: list[Channel]) -> None:
        for layer in range(3):
            for source in range(WORKERS):
                ends[source].send(
                    [
                        (MessageKey(run, 0, layer, source, target), f"{layer} {source} {target}".encode())
                        for target in range(WORKERS)
                        if target != source
                    ]
                )
            for target in range(WORKERS):
                wanted = {MessageKey(run, 0, layer, s, target) for s in range(WORKERS) if s != target}
                came = receive_all(ends[target], wanted)
                assert came == {key: f"{layer} {key.source} {target}".encode() for key in wanted}

    def test_more_messages_than_a_call_takes(self, run: str, ends: list[Channel]) -> None:
        sent = {
            MessageKey(run, 0, 0, 1, target, chunk): random.Random(chunk).randbytes(chunk * 7)
            for chunk in range(25)
            for target in (0, 2)
        }
        ends[1].send(list(sent.items()))
        for target in (0, 2):
            mine = {key: payload for key, payload in sent.items() if key.target == target}
            assert receive_all(ends[target], set(mine)) == mine

    def test_sending_nothing_is_nothing(self, run: str, ends: list[Channel]) -> None:
        ends[0].send([])
        assert ends[0].meter.messages_sent == 0
        assert ends[0].receive([], WAIT_S) == {}

    def test_what_is_flushed_is_accepted(self, run: str, ends: list[Channel]) -> None:
        sent = {MessageKey(run, 0, layer, 0, 1): str(layer).encode() for layer in range(3)}
        ends[0].flush()
        for key, payload in sent.items():
            ends[0].send([(key, payload)])
        ends[0].flush()
        ends[0].flush()
        assert receive_all(ends[1], set(sent)) == sent

    def test_nothing_comes_after_the_time_is_up(self, run: str, ends: list[Channel]) -> None:
        wanted = [MessageKey(run, 0, 0, 0, 1)]
        assert ends[1].receive(wanted, 0.0) == {}
        assert ends[1].receive(wanted, 0.05) == {}

    def test_what_nobody_asked_for_is_kept(self, run: str, ends: list[Channel]) -> None:
        first, second = MessageKey(run, 0, 0, 0, 1), MessageKey(run, 0, 1, 0, 1)
        ends[0].send([(first, b"first")])
        ends[0].send([(second, b"second")])
        assert ends[1].receive([second], WAIT_S) == {second: b"second"}
        assert ends[1].receive([first], WAIT_S) == {first: b"first"}

    def test_some_of_the_wanted_are_enough(self, run: str, ends: list[Channel]) -> None:
        there, absent = MessageKey(run, 0, 0, 0, 1), MessageKey(run, 0, 0, 2, 1)
        ends[0].send([(there, b"there")])
        assert ends[1].receive([absent, there], WAIT_S) == {there: b"there"}

    def test_sent_again_is_received_once(self, run: str, ends: list[Channel]) -> None:
        key, last = MessageKey(run, 0, 0, 0, 1), MessageKey(run, 0, 1, 0, 1)
        for _ in range(3):
            ends[0].send([(key, b"same")])
        assert ends[1].receive([key], WAIT_S) == {key: b"same"}
        ends[0].send([(key, b"same")])
        ends[0].send([(last, b"last")])
        assert receive_all(ends[1], {last}) == {last: b"last"}
        assert ends[1].receive([key], 0.05) == {}

    def test_a_receiver_may_come_late(self, run: str, room: Room) -> None:
        key = MessageKey(run, 0, 0, 0, 2)
        sender = room.end(0)
        sender.send([(key, b"waits")])
        sender.close()
        receiver = room.end(2)
        assert receiver.receive([key], WAIT_S) == {key: b"waits"}
        receiver.close()

    def test_who_waits_is_woken(self, run: str, ends: list[Channel]) -> None:
        ping, pong = MessageKey(run, 0, 0, 0, 1), MessageKey(run, 0, 0, 1, 0)
        came = {}

        def first() -> None:
            ends[0].send([(ping, b"ping")])
            came.update(ends[0].receive([pong], WAIT_S))

        def second() -> None:
            came.update(ends[1].receive([ping], WAIT_S))
            ends[1].send([(pong, b"pong")])

        self.together(first, second)
        assert came == {ping: b"ping", pong: b"pong"}

    def test_a_fence_drops_what_lies_before_it(self, run: str, ends: list[Channel]) -> None:
        old, late, new = (MessageKey(run, 0, layer, 0, 1) for layer in (0, 1, 2))
        ends[0].send([(old, b"old")])
        ends[0].send([(new, b"new")])
        assert ends[1].receive([new], WAIT_S) == {new: b"new"}
        ends[1].fence(0, 2)
        ends[0].send([(late, b"late")])
        assert ends[1].receive([old, late], 0.05) == {}

    def test_a_fence_of_an_epoch_drops_all_earlier_ones(self, run: str, ends: list[Channel]) -> None:
        old, new = MessageKey(run, 3, 99, 0, 1), MessageKey(run, 4, 0, 0, 1)
        ends[1].fence(4, 0)
        ends[0].send([(old, b"old")])
        ends[0].send([(new, b"new")])
        assert receive_all(ends[1], {new}) == {new: b"new"}
        assert ends[1].receive([old], 0.0) == {}

    def test_what_was_rejected_comes_again(self, run: str, ends: list[Channel]) -> None:
        key = MessageKey(run, 0, 0, 0, 1)
        ends[0].send([(key, b"damaged")])
        assert ends[1].receive([key], WAIT_S) == {key: b"damaged"}
        ends[1].reject([key])
        ends[0].send([(key, b"whole")])
        assert _until(ends[1], key, b"whole")

    def test_what_came_and_what_nobody_sent_was_not_left_out(self, run: str, ends: list[Channel]) -> None:
        came, never = MessageKey(run, 0, 0, 0, 1), MessageKey(run, 0, 1, 0, 1)
        ends[0].send([(came, b"came")])
        assert ends[1].receive([came, never], WAIT_S) == {came: b"came"}
        assert ends[1].receive([never], 0.0) == {}
        assert ends[1].left_out([came, never]) == set()

    def test_a_successor_gets_what_comes_after_it_took_over(self, run: str, room: Room) -> None:
        lost, again = MessageKey(run, 0, 0, 0, 1), MessageKey(run, 0, 1, 0, 1)
        sender, first = room.end(0), room.end(1)
        sender.send([(lost, b"lost")])
        assert first.receive([lost], WAIT_S) == {lost: b"lost"}
        second = room.end(1)
        if not second.limits.replays:
            sender.send([(lost, b"lost")])
        sender.send([(again, b"again")])
        assert receive_all(second, {lost, again}) == {lost: b"lost", again: b"again"}
        for end in (sender, first, second):
            end.close()

    def test_a_successor_does_not_get_what_was_fenced_off(self, run: str, room: Room) -> None:
        done, open_ = MessageKey(run, 0, 0, 0, 1), MessageKey(run, 0, 1, 0, 1)
        sender, first = room.end(0), room.end(1)
        sender.send([(done, b"done")])
        assert first.receive([done], WAIT_S) == {done: b"done"}
        first.fence(0, 1)
        first.close()
        second = room.end(1)
        second.fence(0, 1)
        sender.send([(open_, b"open")])
        assert receive_all(second, {open_}) == {open_: b"open"}
        assert second.receive([done], 0.0) == {}
        for end in (sender, second):
            end.close()

    def test_the_largest_message(self, run: str, ends: list[Channel]) -> None:
        nbytes = min(ends[0].limits.max_message_bytes, 4 * 2**20)
        key, payload = MessageKey(run, 0, 0, 0, 1), random.Random(1).randbytes(nbytes)
        ends[0].send([(key, payload)])
        assert receive_all(ends[1], {key}) == {key: payload}

    def test_a_message_above_the_limit_is_refused_and_nothing_is_sent(
        self, run: str, ends: list[Channel]
    ) -> None:
        limit = ends[0].limits.max_message_bytes
        if limit > 2**28:
            pytest.skip("the limit is larger than a test should be")
        small, large = MessageKey(run, 0, 0, 0, 1), MessageKey(run, 0, 0, 0, 2)
        with pytest.raises(MessageTooLarge, match=str(limit)):
            ends[0].send([(small, b"small"), (large, bytes(limit + 1))])
        assert ends[1].receive([small], 0.05) == {}

    def test_keys_of_others_are_refused(self, run: str, ends: list[Channel]) -> None:
        for key in (
            MessageKey("other", 0, 0, 0, 1),
            MessageKey(run, 0, 0, 2, 1),
            MessageKey(run, 0, 0, 0, WORKERS),
            MessageKey(run, 0, 0, 0, -1),
        ):
            with pytest.raises(ValueError, match="cannot send"):
                ends[0].send([(key, b"")])
        for key in (
            MessageKey("other", 0, 0, 1, 0),
            MessageKey(run, 0, 0, 0, 1),
            MessageKey(run, 0, 0, 9, 0),
        ):
            with pytest.raises(ValueError, match="cannot receive"):
                ends[0].receive([key], 0.0)

    def test_a_closed_end_says_so(self, run: str, ends: list[Channel]) -> None:
        key = MessageKey(run, 0, 0, 0, 1)
        ends[0].close()
        ends[0].close()
        with pytest.raises(ChannelClosed):
            ends[0].send([(key, b"")])
        ends[1].close()
        with pytest.raises(ChannelClosed):
            ends[1].receive([key], 0.0)

    def test_the_meter_counts_messages(self, run: str, ends: list[Channel]) -> None:
        keys = [MessageKey(run, 0, 0, 0, target) for target in (1, 2)]
        ends[0].send([(key, b"12345") for key in keys])
        assert receive_all(ends[1], {keys[0]}) == {keys[0]: b"12345"}
        assert (ends[0].meter.messages_sent, ends[0].meter.message_bytes_sent) == (2, 10)
        assert (ends[1].meter.messages_received, ends[1].meter.message_bytes_received) == (1, 5)


def _until(end: Channel, key: MessageKey, payload: bytes) -> bool:
    """Whether it comes in the end; what else comes is rejected. A service may still give what was damaged."""
    for _ in range(100):
        came = end.receive([key], WAIT_S)
        if not came or came[key] == payload:
            return bool(came)
        end.reject([key])
    return False


def _by_layer(sent: dict[MessageKey, bytes]) -> list[list[tuple[MessageKey, bytes]]]:
    grouped: dict[tuple[int, int], list[tuple[MessageKey, bytes]]] = {}
    for key, payload in sent.items():
        grouped.setdefault((key.epoch, key.layer), []).append((key, payload))
    return list(grouped.values())
