"""What every room of `distributed.channels` must do: the base of `channel_suite.ChannelSuite`."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest

from glowplug.core.errors import InvalidName
from glowplug.distributed.channels import Address, Channel, MessageKey, Room, join
from glowplug.distributed.errors import ChannelError, RunExists

WORKERS = 3
WAIT_S = 60.0
"""For what must come; nothing takes as long."""
_numbers = itertools.count()


class RoomSuite:
    by_address = False

    @pytest.fixture
    def leftovers(self) -> Callable[[], list[str]]:
        return list

    @pytest.fixture
    def run(self) -> str:
        return f"run-{os.getpid()}-{next(_numbers)}"

    @pytest.fixture
    def room(self, new_room: Callable[[], Room], run: str) -> Iterator[Room]:
        opened = new_room().open(run, WORKERS)
        yield opened
        opened.close()

    @pytest.fixture
    def ends(self, room: Room) -> Iterator[list[Channel]]:
        made = [room.end(worker) for worker in range(WORKERS)]
        yield made
        for end in made:
            end.close()

    def together(self, *work: Callable[[], None]) -> None:
        """Runs them at the same time, each a worker. Raises what the first of them raised."""
        raised: list[BaseException] = []

        def guarded(function: Callable[[], None]) -> None:
            try:
                function()
            except BaseException as error:
                raised.append(error)

        threads = [threading.Thread(target=guarded, args=(function,)) for function in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if raised:
            raise raised[0]

    def test_a_name_is_taken_while_its_run_is_open(
        self, run: str, room: Room, ends: list[Channel], new_room: Callable[[], Room]
    ) -> None:
        with pytest.raises(RunExists, match=run):
            new_room().open(run, WORKERS)
        key = MessageKey(run, 0, 0, 0, 1)
        ends[0].send([(key, b"unharmed")])
        assert ends[1].receive([key], WAIT_S) == {key: b"unharmed"}

    def test_a_name_is_free_again_and_empty(self, run: str, new_room: Callable[[], Room]) -> None:
        key = MessageKey(run, 0, 0, 0, 1)
        for content in (b"first", b"second"):
            with new_room().open(run, WORKERS) as room:
                sender, receiver = room.end(0), room.end(1)
                assert receiver.receive([key], 0.0) == {}
                sender.send([(key, content)])
                assert receiver.receive([key], WAIT_S) == {key: content}
                sender.close()
                receiver.close()

    def test_runs_do_not_meet(self, run: str, ends: list[Channel], new_room: Callable[[], Room]) -> None:
        with new_room().open(f"{run}-b", WORKERS) as other:
            theirs = other.end(0)
            key, same = MessageKey(f"{run}-b", 0, 0, 0, 1), MessageKey(run, 0, 0, 0, 1)
            theirs.send([(key, b"theirs")])
            assert ends[1].receive([same], 0.05) == {}
            theirs.close()

    def test_closing_leaves_nothing(
        self, run: str, new_room: Callable[[], Room], leftovers: Callable[[], list[str]]
    ) -> None:
        before = leftovers()
        room = new_room().open(run, WORKERS)
        sender, receiver = room.end(0), room.end(1)
        keys = [MessageKey(run, 0, layer, 0, target) for layer in (0, 1) for target in (1, 2)]
        for layer in (0, 1):
            sender.send([(key, b"x" * 1000) for key in keys if key.layer == layer])
        assert receive_all(receiver, {keys[0]})
        room.close()
        room.close()
        sender.close()
        receiver.close()
        assert leftovers() == before

    def test_what_was_left_open_can_be_closed_by_its_name(
        self, run: str, new_room: Callable[[], Room], leftovers: Callable[[], list[str]]
    ) -> None:
        before = leftovers()
        left = new_room().open(run, WORKERS)
        end = left.end(0)
        end.send([(MessageKey(run, 0, 0, 0, 1), b"left")])
        end.close()
        new_room().join(run, WORKERS).close()
        assert leftovers() == before

    def test_closing_what_was_never_open_is_nothing(self, run: str, new_room: Callable[[], Room]) -> None:
        new_room().join(run, WORKERS).close()
        new_room().close()

    def test_an_end_of_a_run_that_is_not_open(self, run: str, new_room: Callable[[], Room]) -> None:
        room = new_room().join(run, WORKERS)

        def use() -> None:
            room.end(0).send([(MessageKey(run, 0, 0, 0, 1), b"")])

        with pytest.raises(ChannelError, match=run):
            use()

    def test_workers_have_numbers(self, room: Room) -> None:
        for worker in (-1, WORKERS):
            with pytest.raises(ValueError, match="of 3"):
                room.end(worker)

    @pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "../a", "a.b", "ü", "a" * 49])
    def test_names_that_no_service_takes_are_refused(self, new_room: Callable[[], Room], name: str) -> None:
        with pytest.raises(InvalidName, match="use"):
            new_room().open(name, WORKERS)

    @pytest.mark.parametrize("workers", [0, -1, 2**16])
    def test_impossible_numbers_of_workers(
        self, run: str, new_room: Callable[[], Room], workers: int
    ) -> None:
        with pytest.raises(ValueError, match="workers"):
            new_room().open(run, workers)

    def test_an_address_survives_json(self, room: Room) -> None:
        assert msgspec.json.decode(msgspec.json.encode(room.address), type=Address) == room.address

    def test_ends_are_taken_by_the_address(self, run: str, room: Room) -> None:
        if not self.by_address:
            pytest.skip("lives in this process alone")
        address = msgspec.json.decode(msgspec.json.encode(room.address), type=Address)
        sender, receiver = join(address, 0), join(address, 1)
        key = MessageKey(run, 0, 0, 0, 1)
        sender.send([(key, b"found")])
        assert receiver.receive([key], WAIT_S) == {key: b"found"}
        sender.close()
        receiver.close()


def receive_all(end: Channel, wanted: set[MessageKey]) -> dict[MessageKey, bytes]:
    """Everything wanted, in as many calls as it takes; what is missing after the wait is missing."""
    came: dict[MessageKey, bytes] = {}
    while wanted - came.keys():
        more = end.receive(wanted - came.keys(), WAIT_S)
        if not more:
            break
        assert more.keys() <= wanted - came.keys()
        came.update(more)
    return came
