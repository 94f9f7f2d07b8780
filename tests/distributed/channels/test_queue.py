"""SNS and SQS as their clients see them: moto's server, by boto3."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from glowplug.bench.peers.aws_server import aws_server
from glowplug.distributed.channels import MessageKey, Room, room
from glowplug.distributed.errors import ChannelRefused, ChannelUnavailable
from glowplug.testing.channel_suite import ChannelSuite, receive_all

pytestmark = pytest.mark.broker

boto3 = pytest.importorskip("boto3", reason="needs the distributed extra")
pytest.importorskip("moto.server", reason="needs moto: pip install 'moto[sns,sqs]' flask flask-cors")

from glowplug.distributed.channels.aws import AwsService  # noqa: E402
from glowplug.distributed.channels.queue import QueueRoom  # noqa: E402

REGION = "us-east-1"


@pytest.fixture(scope="module", autouse=True)
def credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "key")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield


@pytest.fixture(scope="module")
def endpoint(credentials: None) -> Iterator[str]:
    with aws_server() as url:
        yield url


@pytest.fixture(scope="module")
def service(endpoint: str) -> AwsService:
    return AwsService(endpoint, REGION)


class TestQueue(ChannelSuite):
    by_address = True

    @pytest.fixture
    def new_room(self, service: AwsService) -> Callable[[], Room]:
        return lambda: QueueRoom(service)

    @pytest.fixture
    def leftovers(self, endpoint: str) -> Callable[[], list[str]]:
        sns = boto3.client("sns", endpoint_url=endpoint, region_name=REGION)
        sqs = boto3.client("sqs", endpoint_url=endpoint, region_name=REGION)

        def look() -> list[str]:
            return [
                *sqs.list_queues().get("QueueUrls", []),
                *(topic["TopicArn"] for topic in sns.list_topics()["Topics"]),
                *(one["SubscriptionArn"] for one in sns.list_subscriptions()["Subscriptions"]),
            ]

        return look


def test_the_paper_s_scheme_all_to_all(endpoint: str) -> None:
    with room("paper_queue", endpoint=endpoint, region=REGION).open("paper", 2) as opened:
        ends = [opened.end(worker) for worker in range(2)]
        keys = [MessageKey("paper", 0, layer, me, 1 - me) for layer in range(3) for me in range(2)]
        for key in keys:
            ends[key.source].send([(key, repr(key).encode())])
        for me in range(2):
            wanted = {key for key in keys if key.target == me}
            assert receive_all(ends[me], wanted) == {key: repr(key).encode() for key in wanted}
            ends[me].close()
        assert sum(end.meter.publishes for end in ends) == len(keys)


def test_large_and_small_messages_take_their_ways(service: AwsService) -> None:
    with QueueRoom(service).open("ways", 2) as opened:
        sender, receiver = opened.end(0), opened.end(1)
        small, large = (MessageKey("ways", 0, layer, 0, 1) for layer in range(2))
        sender.send([(small, b"s" * 100), (large, b"l" * 100_000)])
        assert (sender.meter.publishes, sender.meter.queue_sends) == (0, 1)
        sender.send([(small.part(1), b"s" * 100)])
        assert (sender.meter.publishes, sender.meter.queue_sends) == (1, 1)
        wanted = {small, large, small.part(1)}
        assert receive_all(receiver, wanted).keys() == wanted
        assert receiver.meter.poll_units >= 2
        sender.close()
        receiver.close()


def test_no_credentials(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(ChannelRefused, match="AWS_ACCESS_KEY_ID"):
        room("queue", endpoint=endpoint, region=REGION).open("nobody", 2)


def test_wrong_credentials(endpoint: str) -> None:
    """moto checks them from the given number of calls on."""
    from moto.core import set_initial_no_auth_action_count

    @set_initial_no_auth_action_count(0)
    def open_() -> None:
        room("queue", endpoint=endpoint, region=REGION).open("stranger", 2)

    with pytest.raises(ChannelRefused, match="Check the credentials"):
        open_()


def test_no_region(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ChannelRefused, match="AWS_REGION"):
        room("queue", endpoint=endpoint)


def test_a_service_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ChannelUnavailable, match="run 'nobody'"):
        room("queue", endpoint="http://127.0.0.1:1", region=REGION).open("nobody", 2)


@pytest.mark.parametrize("another_is_open", [False, True])
def test_an_opening_that_is_interrupted_leaves_no_claim_but_another_s(
    service: AwsService, monkeypatch: pytest.MonkeyPatch, another_is_open: bool
) -> None:
    before = service.queues()
    if another_is_open:
        QueueRoom(service).open("interrupted", 2)
        before = service.queues()
    create = service._create_queue

    def interrupted(name: str, attributes: dict[str, str]) -> str:
        if not another_is_open:
            create(name, attributes)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(service, "_create_queue", interrupted)
        with pytest.raises(KeyboardInterrupt):
            QueueRoom(service).open("interrupted", 2)
    assert service.queues() == before
    QueueRoom(service).join("interrupted", 2).close()
