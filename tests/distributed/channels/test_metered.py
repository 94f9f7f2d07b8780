"""The schemes in virtual time: the same suite, and what they cost by the meter."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from glowplug.distributed.channels import Room
from glowplug.distributed.channels.metered import Cloud, metered_room
from glowplug.testing.channel_suite import ChannelSuite


class VirtualSuite(ChannelSuite):
    scheme = ""

    @pytest.fixture
    def new_room(self, cloud: Cloud) -> Callable[[], Room]:
        return lambda: metered_room(self.scheme, cloud)

    @pytest.fixture
    def cloud(self) -> Iterator[Cloud]:
        cloud = Cloud()
        self.time = cloud.time
        yield cloud
        cloud.time.close()

    @pytest.fixture
    def leftovers(self, cloud: Cloud) -> Callable[[], list[str]]:
        return lambda: [*cloud.queues, *cloud.store.keys(), *cloud.mailboxes]

    def together(self, *work: Callable[[], None]) -> None:
        self.time.run(work)


class TestQueue(VirtualSuite):
    scheme = "queue"


class TestObject(VirtualSuite):
    scheme = "object"


class TestPaperQueue(VirtualSuite):
    scheme = "paper_queue"


class TestPaperObject(VirtualSuite):
    scheme = "paper_object"


class TestDirect(VirtualSuite):
    scheme = "direct"


class TestClaimCheck(VirtualSuite):
    @pytest.fixture
    def new_room(self, cloud: Cloud) -> Callable[[], Room]:
        return lambda: metered_room("queue", cloud, claims=True)
