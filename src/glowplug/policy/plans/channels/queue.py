"""queue: SNS to SQS. Messages of a step share publishes, whatever their targets; polls take ten at a time."""

from __future__ import annotations

import msgspec
import numpy as np

from glowplug.policy.plans import CannotSpread
from glowplug.policy.plans.billing import PUBLISH_UNIT_BYTES, Usage
from glowplug.policy.plans.channels import Exchange, per_receiver, per_sender, rounds
from glowplug.policy.plans.facts import Reals
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Spread

MESSAGE_BYTES = 256 * 1024
BATCH_BYTES = 256 * 1024
BATCH_MESSAGES = 10
ATTRIBUTE_BYTES = 160
"""What SNS bills of a message besides its body: names, types and values of its attributes."""


class QueueCalls(msgspec.Struct, frozen=True):
    def exchange(self, spread: Spread, delays: Delays) -> Exchange:
        messages = message_counts(spread.transfers.nbytes)
        nbytes = spread.transfers.nbytes + messages * ATTRIBUTE_BYTES
        sent, sent_bytes = per_sender(spread, messages), per_sender(spread, nbytes)
        came, came_bytes = per_receiver(spread, messages), per_receiver(spread, nbytes)
        publishes = np.maximum(np.ceil(sent / BATCH_MESSAGES), np.ceil(sent_bytes / BATCH_BYTES))
        units = np.maximum(publishes, np.ceil(sent_bytes / PUBLISH_UNIT_BYTES))
        polls = poll_counts(came)
        return Exchange(
            send_s=rounds(publishes, delays.threads) * delays.call_s + sent_bytes / delays.bytes_s,
            receive_s=np.where(came > 0, delays.call_s, 0.0) * rounds(polls, delays.threads)
            + came_bytes / delays.bytes_s,
            travel_s=delays.hop_s,
            usage=Usage(
                publishes=float(units.sum()),
                published_bytes=float(nbytes.sum()),
                queue_calls=float(polls.sum()),
                queue_deletes=float(np.ceil(came / BATCH_MESSAGES).sum()),
            ),
            calls=int(publishes.sum() + polls.sum()),
            nbytes=int(nbytes.sum()),
        )


def message_counts(nbytes: Reals) -> Reals:
    """How many messages each payload takes. Raises CannotSpread where one takes more than a queue should carry."""
    counts: Reals = np.maximum(1.0, np.ceil(nbytes / (MESSAGE_BYTES - ATTRIBUTE_BYTES)))
    if len(counts) and counts.max() > 1000:
        raise CannotSpread(f"a payload of {nbytes.max():.3g} bytes would take {counts.max():.0f} messages")
    return counts


def poll_counts(messages: Reals) -> Reals:
    """One that waits and finds who was first, and as many as the others fill."""
    polls: Reals = np.where(messages > 1, 1 + np.ceil((messages - 1) / BATCH_MESSAGES), messages)
    return polls
