"""What a channel's end did, in the units in which it is billed."""

from __future__ import annotations

import threading

import msgspec

UNIT_BYTES = 64 * 1024
"""SNS and SQS bill a call once for each 64 KB that it carries, and at least once."""


_counting = threading.Lock()


def units(nbytes: int) -> int:
    return max(1, -(-nbytes // UNIT_BYTES))


class Meter(msgspec.Struct):
    """Calls, billed units and bytes, by kind. Only grows, and any thread may count; `plus` adds meters up.

    `publish_*` is a topic (SNS, a NATS subject), `queue_send_*`, `poll_*` and `deletes` are a queue (SQS),
    `put_*` to `blob_deletes` an object store. Bytes are those of bodies and attributes as they are billed,
    not of HTTP. `admin_calls` create and remove topics, queues, streams and marks of a run; `damaged` came
    and could not be read.
    """

    messages_sent: int = 0
    message_bytes_sent: int = 0
    messages_received: int = 0
    message_bytes_received: int = 0
    publishes: int = 0
    publish_units: int = 0
    publish_bytes: int = 0
    queue_sends: int = 0
    queue_send_units: int = 0
    queue_send_bytes: int = 0
    polls: int = 0
    poll_units: int = 0
    poll_bytes: int = 0
    polls_empty: int = 0
    deletes: int = 0
    puts: int = 0
    put_bytes: int = 0
    gets: int = 0
    get_bytes: int = 0
    gets_missed: int = 0
    lists: int = 0
    blob_deletes: int = 0
    admin_calls: int = 0
    damaged: int = 0

    def plus(self, other: Meter) -> Meter:
        mine, theirs = msgspec.structs.asdict(self), msgspec.structs.asdict(other)
        return Meter(**{name: mine[name] + theirs[name] for name in mine})

    def sent(self, nbytes: int) -> None:
        with _counting:
            self.messages_sent += 1
            self.message_bytes_sent += nbytes

    def received(self, nbytes: int) -> None:
        with _counting:
            self.messages_received += 1
            self.message_bytes_received += nbytes

    def publish(self, nbytes: int) -> None:
        with _counting:
            self.publishes += 1
            self.publish_units += units(nbytes)
            self.publish_bytes += nbytes

    def queue_send(self, nbytes: int) -> None:
        with _counting:
            self.queue_sends += 1
            self.queue_send_units += units(nbytes)
            self.queue_send_bytes += nbytes

    def poll(self, nbytes: int, messages: int) -> None:
        with _counting:
            self.polls += 1
            self.poll_units += units(nbytes)
            self.poll_bytes += nbytes
            self.polls_empty += not messages

    def put(self, nbytes: int) -> None:
        with _counting:
            self.puts += 1
            self.put_bytes += nbytes

    def get(self, nbytes: int | None) -> None:
        """`None`: the object was not there, which costs a call all the same."""
        with _counting:
            self.gets += 1
            self.get_bytes += nbytes or 0
            self.gets_missed += nbytes is None

    def admin(self, calls: int = 1) -> None:
        with _counting:
            self.admin_calls += calls
