"""queue: SNS to SQS. A step's small messages share publishes whatever their targets; large ones go straight
to their target's queue; polls take ten at a time."""

from __future__ import annotations

from functools import partial

import msgspec
import numpy as np

from glowplug.policy.plans.billing import PUBLISH_UNIT_BYTES, Usage
from glowplug.policy.plans.channels import FRAME_BYTES, Exchange, numbered, per_sender, rounds
from glowplug.policy.plans.channels.receiving import Polling
from glowplug.policy.plans.facts import Reals
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Spread

MESSAGE_BYTES = 256 * 1024
CALL_MESSAGES = 10
STRAIGHT_ABOVE_BYTES = 3584
RECORD_BYTES = 18
"""Of an envelope, for each message in it."""
QUEUE_BYTES = 8
"""What SQS bills of a message besides its body: the attribute's name and type, and a body that must not be
empty."""
TARGET_BYTES = 9
"""What SNS bills besides: the target's attribute."""


class QueueCalls(msgspec.Struct, frozen=True):
    def exchange(self, spread: Spread, delays: Delays) -> Exchange:
        moved = spread.transfers
        messages, bodies = enveloped(moved.nbytes)
        small = (bodies <= STRAIGHT_ABOVE_BYTES).astype(float)
        topic_bytes = bodies + QUEUE_BYTES + TARGET_BYTES
        queue_bytes = bodies + messages * QUEUE_BYTES
        publishes = np.ceil(per_sender(spread, small) / CALL_MESSAGES)
        straight = messages * (1 - small)
        sent_bytes = per_sender(spread, np.where(small, topic_bytes, queue_bytes))
        published_s = rounds(publishes, delays.parallel) * delays.publish_s
        first = numbered(spread, straight)
        units = np.maximum(messages, np.ceil(queue_bytes / PUBLISH_UNIT_BYTES))
        return Exchange(
            send_s=published_s
            + rounds(per_sender(spread, straight), delays.parallel) * delays.send_s
            + sent_bytes / delays.bytes_per_s,
            there_s=delays.hop_s
            + _sent_bytes(spread, topic_bytes * small, queue_bytes * (1 - small)) / delays.bytes_per_s
            + np.where(
                small,
                numbered(spread, small) // (CALL_MESSAGES * delays.parallel) * delays.publish_s,
                published_s[moved.step, moved.source] + first // delays.parallel * delays.send_s,
            ),
            messages=messages,
            came_bytes=queue_bytes,
            receiver=partial(Polling, workers=spread.workers, delays=delays, most=CALL_MESSAGES),
            usage=Usage(
                publishes=float(publishes.sum()),
                published_bytes=float((topic_bytes * small).sum()),
                queue_calls=float((units * (1 - small)).sum()) + room_calls(spread),
            ),
            receive_usage=Usage(queue_calls=1),
            calls=int(publishes.sum() + straight.sum()),
            nbytes=int(sent_bytes.sum()),
        )


def _sent_bytes(spread: Spread, through: Reals, straight: Reals) -> Reals:
    """(E,): what a sender has sent of a step when the call that a transfer is in is there: one for ten
    through the topic, which come together, and after these one for each that goes straight."""
    moved = spread.transfers
    before = per_sender(spread, through)[moved.step, moved.source]
    found: Reals = before + numbered(spread, straight) + straight
    (small,) = np.nonzero(through)
    if len(small):
        ends = (numbered(spread, through) + through)[small]
        call = numbered(spread, (through > 0).astype(float))[small] // CALL_MESSAGES
        sender = moved.step.astype(np.int64)[small] * spread.workers + moved.source[small]
        first = np.flatnonzero((np.diff(sender, prepend=-1) != 0) | (np.diff(call, prepend=-1.0) != 0))
        last = np.append(first[1:], len(small))
        found[small] = np.repeat(ends[last - 1], last - first)
    return found


def room_calls(spread: Spread) -> int:
    """To make a topic and, for each worker, a queue, its policy and its subscription; to remove them."""
    return 2 + 4 * spread.workers if len(spread.transfers) else 0


def enveloped(nbytes: Reals) -> tuple[Reals, Reals]:
    """(how many messages each payload takes, their bodies' bytes all together)."""
    room = MESSAGE_BYTES - QUEUE_BYTES - TARGET_BYTES - RECORD_BYTES - FRAME_BYTES
    messages = np.maximum(1.0, np.ceil(nbytes / room))
    return messages, nbytes + messages * (FRAME_BYTES + RECORD_BYTES)
