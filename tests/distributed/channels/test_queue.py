"""SNS and SQS as their clients see them: moto's server, by boto3."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from glowplug.bench.peers.aws_server import aws_server
from glowplug.distributed.channels import Room
from glowplug.testing.channel_suite import ChannelSuite

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
