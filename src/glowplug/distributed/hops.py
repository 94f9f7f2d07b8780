"""A model's stages over a channel: the head hands over, each part takes, computes and hands on.

A message is of a step (the key's `layer`), of which each call of the model is one. Who gives a call up leaves
its step unanswered: what comes of it later is dropped.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from glowplug.core.errors import FunctionFailed
from glowplug.distributed import carry
from glowplug.distributed.channels.base import Channel, MessageKey
from glowplug.distributed.errors import FrameMismatch
from glowplug.distributed.frame import Assembly, Kind, frames
from glowplug.distributed.stages import Call

if TYPE_CHECKING:
    from torch import Tensor

_PATIENCE_S = 3600.0
"""At the end of which it is asked again: who waits in vain is ended from outside."""
_STEPS_AHEAD = 8
"""A sender that was interrupted in mid-send goes on with the next step."""
_CALL, _RESULT, _FAILED = "call", "result", "failed"


class Hop:
    """What one worker of a gang sends and receives."""

    def __init__(self, channel: Channel, run: str, workers: int) -> None:
        self._channel, self._run, self._worker = channel, run, channel.worker
        self._source, self._target = (self._worker - 1) % workers, (self._worker + 1) % workers
        self.is_last = self._target == 0

    def send(self, step: int, value: tuple[Any, ...]) -> None:
        key = MessageKey(self._run, 0, step, self._worker, self._target)
        limit_bytes = self._channel.limits.max_message_bytes
        self._channel.send(frames(key, Kind.BYTES, carry.pack(value), limit_bytes))

    def receive(self, first: int, steps: int = 1) -> tuple[int, Any]:
        """The latest that is here of `steps` steps from `first` on, waited for. Raises ChannelError and
        FrameError."""
        keys = [MessageKey(self._run, 0, first + ahead, self._source, self._worker) for ahead in range(steps)]
        assembly = Assembly(keys)
        while True:
            came = assembly.add(self._channel.receive(assembly.wanted, _PATIENCE_S))
            if came:
                key, payload = max(came, key=lambda each: each[0].layer)
                if payload.kind != Kind.BYTES:
                    raise FrameMismatch(f"{key}: a payload of {payload.kind!r}")
                return key.layer, carry.unpack(payload.body)

    def done(self, step: int) -> None:
        """Nothing before this step is of any use."""
        self._channel.fence(0, step)


class Others:
    """The other workers, as the head's stand-ins see them (`stages.Peer`)."""

    def __init__(self, hop: Hop) -> None:
        self._hop = hop
        self._step = 0

    def begin(self, call: Call) -> None:
        self._step += 1
        self._hop.done(self._step)
        self._hop.send(self._step, (_CALL, *call))

    def finish(self) -> Tensor:
        """Raises FunctionFailed when a part's computation did."""
        _, (kind, found) = self._hop.receive(self._step)
        if kind == _FAILED:
            raise FunctionFailed(found)
        tensor: Tensor = found
        return tensor


def serve(hop: Hop, stage: Callable[[Call], Call], worker: int) -> None:
    """Computes one step after another until the channel is closed. What the stage raises goes on in the place
    of its result, and is the head's error. Raises ChannelError and FrameError."""
    step = 0
    while True:
        step, value = hop.receive(step + 1, _STEPS_AHEAD)
        if value[0] == _CALL:
            value = _computed(stage, Call(*value[1:]), worker, is_last=hop.is_last)
        hop.send(step, value)
        del value
        hop.done(step + 1)


def _computed(stage: Callable[[Call], Call], call: Call, worker: int, *, is_last: bool) -> tuple[Any, ...]:
    try:
        found = stage(call)
    except Exception as error:
        traceback.print_exc()
        line = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
        return (_FAILED, f"worker {worker} of the gang: {line}")
    return (_RESULT, found.hidden) if is_last else (_CALL, *found)
