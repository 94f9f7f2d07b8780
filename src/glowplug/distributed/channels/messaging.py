"""Topics and queues as SNS and SQS have them: what the schemes `queue` and `paper_queue` are made of.

A topic copies a message to the queue of its target (a subscription with a filter); a worker polls its own
queue. A body is a text, so bytes go as a binary attribute, which is billed as the bytes that it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from glowplug.distributed.channels.meter import Meter

MOST_MESSAGES = 10
MOST_BYTES = 256 * 1024
"""Of a call, and so of a message."""
LONGEST_POLL_S = 20.0
TEXT = "-"
"""No service takes an empty one."""
_ATTRIBUTE_BYTES = len("p") + len("Binary")
_TARGET_BYTES = len("t") + len("String")


class Entry(NamedTuple):
    """One message; `content` is not empty."""

    target: int
    content: bytes

    @property
    def queue_bytes(self) -> int:
        """As a queue bills it."""
        return len(TEXT) + _ATTRIBUTE_BYTES + len(self.content)

    @property
    def topic_bytes(self) -> int:
        """As a topic bills it, and a queue what came through one: its target is an attribute."""
        return self.queue_bytes + _TARGET_BYTES + len(str(self.target))


OVERHEAD_BYTES = Entry(2**16, b"x").topic_bytes - 1
"""What a binary message takes beside its body, at most."""


class Received(NamedTuple):
    content: bytes
    receipt: str


class Messaging(Protocol):
    """One worker's way to the topics and queues of a run. All raise ChannelUnavailable after a stated time,
    ChannelRefused, ChannelMissing. Calls of one list run beside each other."""

    meter: Meter

    def publish(self, topic: int, calls: Sequence[Sequence[Entry]]) -> None:
        """Each call at most MOST_MESSAGES messages and MOST_BYTES, of any targets."""

    def send(self, calls: Sequence[Sequence[Entry]]) -> None:
        """Straight to the queue of a call's one target."""

    def poll(self, wait_s: float) -> list[Received]:
        """Up to MOST_MESSAGES, as soon as there is one; none after `wait_s`, which LONGEST_POLL_S bounds.
        They are hidden for a while, and come again unless they are deleted."""

    def delete(self, receipts: Sequence[str]) -> None:
        """At most MOST_MESSAGES."""

    def release(self, receipts: Sequence[str]) -> None:
        """They may be given to another poll at once."""

    def close(self) -> None: ...


class MessagingService(Protocol):
    """Makes and removes what a run needs."""

    meter: Meter

    def open(self, run: str, workers: int, topics: int) -> None:
        """A queue for each worker, subscribed to every topic. Raises RunExists, and leaves nothing then."""

    def connect(self, run: str, workers: int, worker: int) -> Messaging: ...

    def remove(self, run: str, workers: int, topics: int) -> None:
        """Whatever of it is there."""

    def options(self) -> dict[str, object]:
        """What makes the same service in another process; no credentials."""
