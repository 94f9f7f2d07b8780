"""How payloads become messages, and messages become calls: the same rule for who counts and for who sends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from glowplug.policy.plans.billing import PUBLISH_UNIT_BYTES


def batches(sizes: Iterable[int], most_messages: int, most_bytes: int) -> Iterator[list[int]]:
    """Consecutive indices of messages that share a call: as many as fit, in their order.

    Raises ValueError for a message that no call can carry.
    """
    batch: list[int] = []
    filled = 0
    for index, nbytes in enumerate(sizes):
        if nbytes > most_bytes:
            raise ValueError(f"message {index} has {nbytes} bytes, and a call carries {most_bytes}")
        if batch and (len(batch) == most_messages or filled + nbytes > most_bytes):
            yield batch
            batch, filled = [], 0
        batch.append(index)
        filled += nbytes
    if batch:
        yield batch


def billed_units(nbytes: float) -> int:
    """A call to SNS or SQS counts once for each 64 KiB that it carries, and at least once."""
    return max(1, -(-int(nbytes) // PUBLISH_UNIT_BYTES))
