"""What SNS and SQS answer, as a channel's errors."""

from __future__ import annotations

from contextlib import AbstractContextManager

from glowplug.distributed.aws_answers import answered
from glowplug.distributed.errors import (
    ChannelError,
    ChannelMissing,
    ChannelRefused,
    ChannelUnavailable,
    RunExists,
)

_MISSING = {
    "AWS.SimpleQueueService.NonExistentQueue",
    "NotFound",
    "QueueDoesNotExist",
    "ResourceNotFoundException",
}
_TAKEN = {"QueueAlreadyExists", "QueueNameExists"}
_JUST_REMOVED = {"AWS.SimpleQueueService.QueueDeletedRecently", "QueueDeletedRecently"}
REMOVED_S = 60.0
"""A queue's name is free again so long after it went."""


def named(what: str) -> AbstractContextManager[None]:
    """`what` is the beginning of the message."""
    return answered(what, ChannelRefused, ChannelUnavailable, _told)


def _told(said: str, code: str, status: int) -> ChannelError:
    if code in _MISSING:
        return ChannelMissing(f"{said} The run is not open, or over.")
    if code in _TAKEN:
        return RunExists(f"{said} A run of this name is open: end it, or use another name.")
    if code in _JUST_REMOVED:
        return ChannelUnavailable(f"{said} The name is free again after {REMOVED_S:.0f} s.", REMOVED_S)
    if status >= 500 or "Throttl" in code:
        return ChannelUnavailable(said, retry_after_s=1.0)
    return ChannelError(said)
