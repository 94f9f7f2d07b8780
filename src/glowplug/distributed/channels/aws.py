"""SNS and SQS by boto3: what makes and removes the topics and queues of a run."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import boto3
from botocore.config import Config

from glowplug.distributed.aws_answers import checked_endpoint
from glowplug.distributed.channels.aws_errors import named
from glowplug.distributed.channels.aws_messaging import PARALLEL, AwsMessaging
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.errors import ChannelMissing

Made = TypeVar("Made")

HIDDEN_S = 12 * 3600
"""The longest that SQS hides a message that was received."""
_RETAINED_S = 4 * 24 * 3600
"""SQS drops what is older, so that a run that nobody closes does not stay for ever."""
_RETENTIONS_S = (60, 14 * 24 * 3600)
_RETENTION = "MessageRetentionPeriod"
_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": 6},
    max_pool_connections=4 * PARALLEL,
    tcp_keepalive=True,
)


class AwsService:
    """`messaging.MessagingService` on AWS, or at `endpoint`, a server that speaks as it does.

    Region and credentials come from where boto3 looks. `hidden_s`: how long a received message stays hidden.
    """

    def __init__(
        self, endpoint: str | None = None, region: str | None = None, hidden_s: int = HIDDEN_S
    ) -> None:
        self.meter = Meter()
        self._endpoint = endpoint = checked_endpoint(endpoint)
        self._region, self._hidden_s = region, hidden_s
        with named("connecting to AWS"):
            session = boto3.session.Session(region_name=region)
            self._sns: Any = session.client("sns", endpoint_url=endpoint, config=_CONFIG)
            self._sqs: Any = session.client("sqs", endpoint_url=endpoint, config=_CONFIG)

    def open(self, run: str, workers: int, topics: int) -> None:
        with named(f"run {run!r}"):
            retained_s = _a_retention_s()
            try:
                claim = self._create_queue(_claim_name(run), {_RETENTION: str(retained_s)})
                made = self._beside([partial(self._make_topic, _name(run, f"t{n}")) for n in range(topics)])
                arn = self._arn(claim)
                self._beside([partial(self._make_queue, run, str(w), arn, made) for w in range(workers)])
            except BaseException:
                with suppress(Exception):
                    if self._is_claimed(run, retained_s):
                        self.remove(run, workers, topics)
                raise

    def connect(self, run: str, workers: int, worker: int) -> AwsMessaging:
        with named(f"run {run!r}"):
            url = self._url(_name(run, str(worker)))
            if url is None:
                raise ChannelMissing(f"run {run!r} is not open, or has no worker {worker}")
            arn = self._arn(url)
        return AwsMessaging(
            self._sns,
            self._sqs,
            worker,
            topic=lambda number: _topic_arn(arn, run, number),
            queue=lambda target: _sibling(url, "/", _name(run, str(target))),
        )

    def remove(self, run: str, workers: int, topics: int) -> None:
        """Subscriptions go with their topics; the claim is the last, so that what fails can be repeated."""
        with named(f"run {run!r}"):
            claim = self._url(_claim_name(run))
            if claim is None:
                return
            arn = self._arn(claim)
            self._beside([partial(self._remove_topic, _topic_arn(arn, run, n)) for n in range(topics)])
            urls = [_sibling(claim, "/", _name(run, str(worker))) for worker in range(workers)]
            self._beside([partial(self._remove_queue, url) for url in urls])
            self._remove_queue(claim)

    def queues(self) -> list[str]:
        """The URLs of all runs' queues."""
        with named("listing queues"):
            # Without a page's size SQS lists a thousand, and says of no more.
            pages = self._sqs.get_paginator("list_queues").paginate(
                QueueNamePrefix=_name("", "").rstrip("-"), PaginationConfig={"PageSize": 1000}
            )
            return [url for page in pages for url in page.get("QueueUrls", [])]

    def claim(self, run: str) -> str | None:
        """The URL of what says that the run's name is taken; None where it is not."""
        with named(f"run {run!r}"):
            return self._url(_claim_name(run))

    def topics(self) -> list[str]:
        """The ARNs of all topics, whosever they are."""
        with named("listing topics"):
            pages = self._sns.get_paginator("list_topics").paginate()
            return [topic["TopicArn"] for page in pages for topic in page.get("Topics", [])]

    def made_s(self, url: str) -> float | None:
        """When a queue was made; None where it is gone."""
        with named(f"queue {url}"), suppress(self._sqs.exceptions.QueueDoesNotExist):
            found = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["CreatedTimestamp"])
            return float(found["Attributes"]["CreatedTimestamp"])
        return None

    def remove_these(self, topics: Sequence[str], queues: Sequence[str]) -> None:
        """In this order."""
        with named("removing"):
            for arn in topics:
                self._remove_topic(arn)
            for url in queues:
                self._remove_queue(url)

    def options(self) -> dict[str, object]:
        return {"endpoint": self._endpoint, "region": self._region, "hidden_s": self._hidden_s}

    def _is_claimed(self, run: str, retained_s: int) -> bool:
        """Whether the run's claim is there, and the one of that retention."""
        url = self._url(_claim_name(run))
        if url is None:
            return False
        self.meter.admin()
        found = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[_RETENTION])
        return int(found["Attributes"][_RETENTION]) == retained_s

    def _make_topic(self, name: str) -> str:
        self.meter.admin()
        return str(self._sns.create_topic(Name=name)["TopicArn"])

    def _make_queue(self, run: str, target: str, beside: str, topics: Sequence[str]) -> None:
        allowed = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": "*",
            "Condition": {"ArnEquals": {"aws:SourceArn": list(topics)}},
        }
        name = _name(run, target)
        self._create_queue(
            name,
            {
                "VisibilityTimeout": str(self._hidden_s),
                _RETENTION: str(_RETAINED_S),
                "Policy": json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
            },
        )
        arn = _sibling(beside, ":", name)
        for topic in topics:
            self.meter.admin()
            self._sns.subscribe(
                TopicArn=topic,
                Protocol="sqs",
                Endpoint=arn,
                Attributes={
                    "RawMessageDelivery": "true",
                    "FilterPolicy": json.dumps({"t": [target]}),
                },
            )

    def _create_queue(self, name: str, attributes: dict[str, str]) -> str:
        self.meter.admin()
        return str(self._sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def _url(self, name: str) -> str | None:
        self.meter.admin()
        try:
            return str(self._sqs.get_queue_url(QueueName=name)["QueueUrl"])
        except self._sqs.exceptions.QueueDoesNotExist:
            return None

    def _arn(self, url: str) -> str:
        self.meter.admin()
        found = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(found["Attributes"]["QueueArn"])

    def _remove_topic(self, arn: str) -> None:
        self.meter.admin()
        with suppress(self._sns.exceptions.NotFoundException):
            self._sns.delete_topic(TopicArn=arn)

    def _remove_queue(self, url: str) -> None:
        self.meter.admin()
        with suppress(self._sqs.exceptions.QueueDoesNotExist):
            self._sqs.delete_queue(QueueUrl=url)

    def _beside(self, work: Sequence[Callable[[], Made]]) -> list[Made]:
        with ThreadPoolExecutor(PARALLEL) as pool:
            return list(pool.map(lambda one: one(), work))


def _name(run: str, part: str) -> str:
    return f"glowplug-{run}-{part}"


def _sibling(path: str, separator: str, name: str) -> str:
    return path.rpartition(separator)[0] + separator + name


def _topic_arn(queue_arn: str, run: str, number: int) -> str:
    return _sibling(queue_arn, ":", _name(run, f"t{number}")).replace(":sqs:", ":sns:", 1)


def _a_retention_s() -> int:
    """Of a claim, which nobody else's has: to make a queue again with another one is refused."""
    low, high = _RETENTIONS_S
    return low + secrets.randbelow(high - low)


def _claim_name(run: str) -> str:
    return _name(run, "claim")
