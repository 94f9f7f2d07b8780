"""What has come to an end: against a plain model, through random lives."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from glowplug.distributed.channels import MessageKey
from glowplug.distributed.channels.inbox import Inbox
from glowplug.distributed.errors import InboxFull
from tests.depth import examples

keys = st.builds(
    MessageKey,
    run=st.just("run"),
    epoch=st.integers(0, 1),
    layer=st.integers(0, 3),
    source=st.integers(1, 2),
    target=st.just(0),
    chunk=st.integers(0, 1),
)


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.inbox = Inbox(kept_bytes=20)
        self.kept: dict[MessageKey, bytes] = {}
        self.given: set[MessageKey] = set()
        self.fence = (0, 0)
        self.awaited: set[tuple[int, int, int]] = set()

    @rule(wanted=st.sets(keys))
    def await_these(self, wanted: set[MessageKey]) -> None:
        self.awaited = {(key.epoch, key.layer, key.source) for key in wanted}
        self.inbox.await_these(wanted)

    @rule(key=keys, payload=st.binary(max_size=8))
    def put(self, key: MessageKey, payload: bytes) -> None:
        new = key not in self.kept and key not in self.given and (key.epoch, key.layer) >= self.fence
        early = [
            len(each)
            for each_key, each in [*self.kept.items(), (key, payload)]
            if (each_key.epoch, each_key.layer, each_key.source) not in self.awaited
        ]
        is_awaited = (key.epoch, key.layer, key.source) in self.awaited
        if new and not is_awaited and sum(early) > 20:
            with pytest.raises(InboxFull, match="nobody received"):
                self.inbox.put(key, payload)
            return
        assert self.inbox.put(key, payload) == new
        if new:
            self.kept[key] = payload

    @rule(wanted=st.sets(keys))
    def take(self, wanted: set[MessageKey]) -> None:
        expected = {key: self.kept.pop(key) for key in wanted if key in self.kept}
        self.given |= expected.keys()
        assert self.inbox.take(wanted) == expected

    @rule(rejected=st.sets(keys))
    def reject(self, rejected: set[MessageKey]) -> None:
        self.inbox.reject(rejected)
        self.given -= rejected
        self.kept = {key: payload for key, payload in self.kept.items() if key not in rejected}

    @rule(epoch=st.integers(0, 1), layer=st.integers(0, 3))
    def fence_off(self, epoch: int, layer: int) -> None:
        self.inbox.fence(epoch, layer)
        self.fence = max(self.fence, (epoch, layer))
        self.kept = {
            key: payload for key, payload in self.kept.items() if (key.epoch, key.layer) >= self.fence
        }
        self.given = {key for key in self.given if (key.epoch, key.layer) >= self.fence}

    @invariant()
    def it_is_in_order(self) -> None:
        self.inbox.validate()


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=examples(40), stateful_step_count=25)


def test_what_is_waited_for_may_be_as_large_as_it_is() -> None:
    """In parts that come in any order, of which the receiver knows the first alone; others' are bounded."""
    inbox = Inbox(kept_bytes=20)
    first = MessageKey("run", 0, 1, 1, 0)
    inbox.await_these([first])
    for chunk in (2, 1, 0):
        assert inbox.put(first.part(chunk), bytes(15))
    assert inbox.take([first]) == {first: bytes(15)}
    other = MessageKey("run", 0, 2, 1, 0)
    assert inbox.put(other, bytes(15))
    with pytest.raises(InboxFull, match="15 bytes in 1 messages"):
        inbox.put(other.part(1), bytes(15))


def test_of_layers_that_are_expected_there_is_room_for_all() -> None:
    inbox = Inbox(kept_bytes=20)
    inbox.expect(3, 5)
    inbox.expect(9, 10)
    for layer in (3, 4, 9):
        assert inbox.put(MessageKey("run", 0, layer, 1, 0), bytes(15))
    inbox.await_these([])
    assert inbox.put(MessageKey("run", 1, 9, 1, 0), bytes(15))
    assert inbox.put(MessageKey("run", 0, 5, 1, 0), bytes(15))
    with pytest.raises(InboxFull, match="15 bytes in 1 messages"):
        inbox.put(MessageKey("run", 0, 6, 1, 0), bytes(15))
