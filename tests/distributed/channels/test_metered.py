"""The schemes in virtual time: the same suite, and what they cost by the meter."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from glowplug.distributed.channels import Room
from glowplug.distributed.channels.messaging import MOST_MESSAGES, Entry
from glowplug.distributed.channels.metered import Cloud, Delays, metered_room
from glowplug.distributed.channels.metered.messaging import VirtualMessagingService
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


def test_polls_beside_each_other_share_a_worker_s_bandwidth() -> None:
    cloud = Cloud(delays=Delays(hop_s=0.0, send_s=0.0, poll_s=0.0, bytes_per_s=1e6))
    service = VirtualMessagingService(cloud)
    service.open("run", 1, topics=0)
    end = service.connect("run", 1, 0)

    def one() -> None:
        cloud.time.sleep(1e-3)  # until all of them are there
        assert len(end.poll(1.0)) == MOST_MESSAGES

    with cloud.time:
        end.send([[Entry(0, bytes(100_000))] for _ in range(2 * MOST_MESSAGES)])
        began_s = cloud.time.now_s()
        cloud.time.run([one, one])
        assert cloud.time.now_s() - began_s == pytest.approx(2.0, rel=0.01)
