"""queue: SNS to SQS. A step's small messages share publishes whatever their targets; large ones go straight to their
target's queue; polls take ten at a time."""

from __future__ import annotations

import msgspec
import numpy as np

from glowplug.policy.plans.billing import PUBLISH_UNIT_BYTES, Usage
from glowplug.policy.plans.channels import FRAME_BYTES, Exchange, per_receiver, per_sender, rounds
from glowplug.policy.plans.facts import Reals
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Spread

MESSAGE_BYTES = 256 * 1024
CALL_MESSAGES = 10
STRAIGHT_ABOVE_BYTES = 3584
RECORD_BYTES = 18
"""Of an envelope, for each message in it."""
QUEUE_BYTES = 8
"""What SQS bills of a message besides its body: the attribute's name and type, and a body that must not be empty."""
TARGET_BYTES = 9
"""What SNS bills besides: the target's attribute."""
POLLS_AT_A_TIME = 8


class QueueCalls(msgspec.Struct, frozen=True):
    def exchange(self, spread: Spread, delays: Delays) -> Exchange:
        messages, bodies = enveloped(spread.transfers.nbytes)
        small = (bodies <= STRAIGHT_ABOVE_BYTES).astype(float)
        topic_bytes = bodies + QUEUE_BYTES + TARGET_BYTES
        queue_bytes = bodies + messages * QUEUE_BYTES
        publishes = np.ceil(per_sender(spread, small) / CALL_MESSAGES)
        straight = messages * (1 - small)
        came = per_receiver(spread, messages)
        polls = poll_counts(came)
        sent_bytes = per_sender(spread, np.where(small, topic_bytes, queue_bytes))
        came_bytes = per_receiver(spread, queue_bytes)
        straight_units = np.where(small, 0.0, np.maximum(messages, np.ceil(queue_bytes / PUBLISH_UNIT_BYTES)))
        return Exchange(
            send_s=rounds(publishes, delays.parallel) * delays.publish_s
            + rounds(per_sender(spread, straight), delays.parallel) * delays.send_s
            + sent_bytes / delays.bytes_per_s,
            receive_s=np.where(came > 0, rounds(polls, POLLS_AT_A_TIME) * delays.poll_s, 0.0)
            + came_bytes / delays.bytes_per_s,
            travel_s=delays.hop_s,
            usage=Usage(
                publishes=float(publishes.sum()),
                published_bytes=float((topic_bytes * small).sum()),
                queue_calls=float(
                    straight_units.sum() + np.maximum(polls, np.ceil(came_bytes / PUBLISH_UNIT_BYTES)).sum()
                ),
            ),
            calls=int(publishes.sum() + straight.sum() + polls.sum()),
            nbytes=int(sent_bytes.sum()),
        )


def enveloped(nbytes: Reals) -> tuple[Reals, Reals]:
    """(how many messages each payload takes, their bodies' bytes all together)."""
    room = MESSAGE_BYTES - QUEUE_BYTES - TARGET_BYTES - RECORD_BYTES - FRAME_BYTES
    messages = np.maximum(1.0, np.ceil(nbytes / room))
    return messages, nbytes + messages * (FRAME_BYTES + RECORD_BYTES)


def poll_counts(messages: Reals) -> Reals:
    """One that waits and finds who was first, and as many as the others fill."""
    polls: Reals = np.where(messages > 1, 1 + np.ceil((messages - 1) / CALL_MESSAGES), messages)
    return polls
