"""SNS and SQS by boto3: one worker's calls, counted as they are billed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import ceil
from typing import Any

from glowplug.distributed.channels.aws_errors import named
from glowplug.distributed.channels.messaging import LONGEST_POLL_S, MOST_MESSAGES, TEXT, Entry, Received
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.errors import ChannelUnavailable

PARALLEL = 8
_ATTEMPTS = 6
_PAUSE_S = 0.1


class AwsMessaging:
    """`messaging.Messaging`. boto3 repeats calls that fail; entries that a call did not take are repeated
    here. A message may be sent twice then, which receivers do not notice.
    """

    def __init__(
        self, sns: Any, sqs: Any, worker: int, topic: Callable[[int], str], queue: Callable[[int], str]
    ) -> None:
        self.meter = Meter()
        self._sns, self._sqs, self._worker, self._topic, self._queue = sns, sqs, worker, topic, queue
        self._pool = ThreadPoolExecutor(PARALLEL)

    def publish(self, topic: int, calls: Sequence[Sequence[Entry]]) -> None:
        arn = self._topic(topic)
        self._beside([partial(self._publish, arn, call) for call in calls])

    def send(self, calls: Sequence[Sequence[Entry]]) -> None:
        self._beside([partial(self._send, self._queue(call[0].target), call) for call in calls])

    def poll(self, wait_s: float) -> list[Received]:
        with named(f"worker {self._worker} polls"):
            answer = self._sqs.receive_message(
                QueueUrl=self._queue(self._worker),
                MaxNumberOfMessages=MOST_MESSAGES,
                WaitTimeSeconds=ceil(min(wait_s, LONGEST_POLL_S)),
                MessageAttributeNames=["All"],
            )
        messages = answer.get("Messages", [])
        self.meter.poll(sum(map(_billed_bytes, messages)), len(messages))
        return [_received(message) for message in messages]

    def delete(self, receipts: Sequence[str]) -> None:
        entries = [{"Id": str(n), "ReceiptHandle": receipt} for n, receipt in enumerate(receipts)]
        self.meter.deletes += 1
        with named(f"worker {self._worker} deletes"):
            self._sqs.delete_message_batch(QueueUrl=self._queue(self._worker), Entries=entries)

    def release(self, receipts: Sequence[str]) -> None:
        entries = [
            {"Id": str(n), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
            for n, receipt in enumerate(receipts)
        ]
        with named(f"worker {self._worker} gives messages back"):
            self._sqs.change_message_visibility_batch(QueueUrl=self._queue(self._worker), Entries=entries)

    def close(self) -> None:
        self._pool.shutdown(wait=False)

    def _publish(self, arn: str, call: Sequence[Entry]) -> None:
        def attempt(entries: Sequence[Entry]) -> dict[str, Any]:
            self.meter.publish(sum(entry.topic_bytes for entry in entries))
            listed = [
                {
                    "Id": str(number),
                    "Message": TEXT,
                    "MessageAttributes": {
                        "t": {"DataType": "String", "StringValue": str(entry.target)},
                        **_attributes(entry),
                    },
                }
                for number, entry in enumerate(entries)
            ]
            answer: dict[str, Any] = self._sns.publish_batch(TopicArn=arn, PublishBatchRequestEntries=listed)
            return answer

        self._until_taken(call, attempt)

    def _send(self, url: str, call: Sequence[Entry]) -> None:
        def attempt(entries: Sequence[Entry]) -> dict[str, Any]:
            self.meter.queue_send(sum(entry.queue_bytes for entry in entries))
            listed = [
                {"Id": str(number), "MessageBody": TEXT, "MessageAttributes": _attributes(entry)}
                for number, entry in enumerate(entries)
            ]
            answer: dict[str, Any] = self._sqs.send_message_batch(QueueUrl=url, Entries=listed)
            return answer

        self._until_taken(call, attempt)

    def _until_taken(
        self, entries: Sequence[Entry], attempt: Callable[[Sequence[Entry]], dict[str, Any]]
    ) -> None:
        for number in range(_ATTEMPTS):
            with named(f"worker {self._worker} sends"):
                failed = attempt(entries).get("Failed", [])
            if not failed:
                return
            entries = [entries[int(one["Id"])] for one in failed]
            time.sleep(_PAUSE_S * 2**number)
        raise ChannelUnavailable(
            f"worker {self._worker}: {len(entries)} messages were not taken, {_ATTEMPTS} times: {failed[0]}"
        )

    def _beside(self, work: Sequence[Callable[[], None]]) -> None:
        if len(work) == 1:
            work[0]()
        else:
            list(self._pool.map(lambda one: one(), work))


def _attributes(entry: Entry) -> dict[str, Any]:
    return {"p": {"DataType": "Binary", "BinaryValue": entry.content}}


def _received(message: dict[str, Any]) -> Received:
    content = message.get("MessageAttributes", {}).get("p", {}).get("BinaryValue", b"")
    return Received(bytes(content), message["ReceiptHandle"])


def _billed_bytes(message: dict[str, Any]) -> int:
    return len(message["Body"]) + sum(
        len(name)
        + len(value["DataType"])
        + len(value.get("BinaryValue", b"") or value.get("StringValue", ""))
        for name, value in message.get("MessageAttributes", {}).items()
    )
