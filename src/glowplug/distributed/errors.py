"""What goes wrong between workers, below the tree in `core/errors.py`.

GlowplugError
|- ChannelError 502          a channel could not carry a message
|  |- ChannelRefused 401     the service does not accept the credentials, or they do not allow this
|  |- ChannelMissing 404     the bucket, stream, queue or folder is not there
|  |- RunExists 409          another run of this name is open
|  |- ChannelClosed 410      this end was closed
|  |- MessageTooLarge 413    above the channel's limit: split it, or use a claim check
|  |- LimitTooSmall 422      the channel's limit has no room for a frame
|  |- ChannelUnavailable 503 the service does not answer: try again
|  |- InboxFull 503          more came that nobody asked for than an end may keep
|- Deadlock 500              virtual time: all workers wait, and nothing is on its way
|- FrameError 502            what came is not what was sent
|  |- FrameCorrupt 502       damaged, truncated, or not a frame
|  |- FrameVersion 502       written by another version of Glowplug
|  |- FrameMismatch 502      whole, but of another message, or of another shape than expected
|- RunError 502              the workers of a run could not finish it
|  |- ReplayImpossible 502   a worker waits for what nobody has any more: all go back to a common line
|  |- GangLost 502           workers were lost more often than the run may replace them
|- PlatformError 502         a function platform could not run a worker
|  |- PlatformRefused 401    it does not accept the credentials or the role, or they do not allow this
|  |- PlatformMissing 404    the function, or what it is to read, is not there
|  |- PlatformBusy 503       it does not answer, or takes no more: try again
|- PackageTooLarge 413       a function's package is above the platform's limits (a UserError)
|- PartTooLarge 422          a worker's part does not fit its memory (a UserError)
|- CannotCut 422             a model that cannot be spread over workers (a UserError)
|- NotAStack 422             a model that is no stack of sparse linear layers (an InvalidArguments)
"""

from __future__ import annotations

import errno

from glowplug.core.errors import GlowplugError, InvalidArguments, OutOfMemory, UserError

_SHORT = ("allocate memory", "not enough memory", "can't start new thread")
"""Of torch's allocator, and of threading: RuntimeErrors."""


class ChannelError(GlowplugError):
    status = 502
    code = "channel"


class ChannelRefused(ChannelError):
    status = 401
    code = "channel_refused"


class ChannelMissing(ChannelError):
    status = 404
    code = "channel_missing"


class RunExists(ChannelError):
    status = 409
    code = "run_exists"


class ChannelClosed(ChannelError):
    status = 410
    code = "channel_closed"


class MessageTooLarge(ChannelError):
    status = 413
    code = "message_too_large"


class LimitTooSmall(ChannelError):
    status = 422
    code = "limit_too_small"


class ChannelUnavailable(ChannelError):
    status = 503
    code = "channel_unavailable"


class InboxFull(ChannelError):
    status = 503
    code = "inbox_full"


class Deadlock(GlowplugError):
    code = "deadlock"


class FrameError(GlowplugError):
    status = 502
    code = "frame"


class FrameCorrupt(FrameError):
    code = "frame_corrupt"


class FrameVersion(FrameError):
    code = "frame_version"


class FrameMismatch(FrameError):
    code = "frame_mismatch"


class RunError(GlowplugError):
    status = 502
    code = "run"


class ReplayImpossible(RunError):
    code = "replay_impossible"


class GangLost(RunError):
    code = "gang_lost"


class PlatformError(GlowplugError):
    status = 502
    code = "platform"


class PlatformRefused(PlatformError):
    status = 401
    code = "platform_refused"


class PlatformMissing(PlatformError):
    status = 404
    code = "platform_missing"


class PlatformBusy(PlatformError):
    status = 503
    code = "platform_busy"


class PackageTooLarge(UserError):
    status = 413
    code = "package_too_large"


class PartTooLarge(UserError):
    status = 422
    code = "part_too_large"


class CannotCut(UserError):
    status = 422
    code = "cannot_cut"


class NotAStack(InvalidArguments):
    code = "not_a_stack"


def out_of_memory(worker: int, memory_bytes: int) -> OutOfMemory:
    """`memory_bytes` 0: nobody limits it."""
    limit = f"the {memory_bytes} bytes that it may hold" if memory_bytes else "this machine has"
    return OutOfMemory(f"worker {worker} needs more than {limit}")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether it, or what it was raised from, says that there was no more memory."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _SHORT):
            return True
        error = error.__cause__
    return False
