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

    @rule(key=keys, payload=st.binary(max_size=8))
    def put(self, key: MessageKey, payload: bytes) -> None:
        new = key not in self.kept and key not in self.given and (key.epoch, key.layer) >= self.fence
        if new and sum(map(len, self.kept.values())) + len(payload) > 20:
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
