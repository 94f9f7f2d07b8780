"""A model's stages over a channel: the head hands over, each part takes, computes and hands on.

A message is of a step (the key's `layer`), of which each call of the model is one. Several are under way at a
time, each in another stage, in one order. Who gives a call up leaves its step unanswered: what comes of it
later is dropped.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from glowplug.core.errors import FunctionFailed, in_words, print_safely, sayable
from glowplug.core.specs import MOST_IN_GANG
from glowplug.distributed import carry
from glowplug.distributed.channels.base import Channel, MessageKey
from glowplug.distributed.errors import FrameMismatch
from glowplug.distributed.frame import Assembly, Kind, frames
from glowplug.distributed.stages import Call

if TYPE_CHECKING:
    from torch import Tensor

_PATIENCE_S = 3600.0
"""At the end of which it is asked again: who waits in vain is ended from outside."""
_MESSAGE_CHARS = 2000
_LOOK_S = 0.1
"""A thread of the head can be interrupted so often."""
_STEPS_AHEAD = MOST_IN_GANG + 8
"""A sender that was interrupted in mid-send goes on with the next step."""
_CALL, _RESULT, _FAILED = "call", "result", "failed"


class Hop:
    """What one worker of a gang sends and receives: one thread does each at a time."""

    def __init__(self, channel: Channel, run: str, workers: int) -> None:
        self._channel, self._run, self._worker = channel, run, channel.worker
        self._source, self._target = (self._worker - 1) % workers, (self._worker + 1) % workers
        self._first = 1
        self._asked = 0
        self._assembly = Assembly(())
        self.is_last = self._target == 0

    def send(self, step: int, value: tuple[Any, ...]) -> None:
        key = MessageKey(self._run, 0, step, self._worker, self._target)
        limit_bytes = self._channel.limits.max_message_bytes
        self._channel.send(frames(key, Kind.BYTES, carry.pack(value), limit_bytes))

    def receive(self, timeout_s: float) -> list[tuple[int, Any]]:
        """By step, ascending, what came; nothing after `timeout_s`. What comes before it is wanted no more: a
        source sends one step after another. Raises ChannelError and FrameError."""
        for step in range(max(self._asked + 1, self._first), self._first + _STEPS_AHEAD):
            self._assembly.wanted.add(MessageKey(self._run, 0, step, self._source, self._worker))
            self._asked = step
        came = self._assembly.add(self._channel.receive(self._assembly.wanted, timeout_s))
        found = []
        for key, payload in sorted(came, key=lambda each: each[0]):
            if payload.kind != Kind.BYTES:
                raise FrameMismatch(f"{key}: a payload of {payload.kind!r}")
            found.append((key.layer, carry.unpack(payload.body)))
        if found:
            self._pass(found[-1][0] + 1)
        return found

    def done(self, step: int) -> None:
        """Nothing before this step is of any use."""
        self._pass(step)
        self._channel.fence(0, step)

    def _pass(self, step: int) -> None:
        if step > self._first:
            self._first = step
            self._assembly.wanted = {key for key in self._assembly.wanted if key.layer >= step}


class Others:
    """The other workers, as the head's stand-ins see them (`stages.Peer`): its threads begin and finish
    calls, each its own, and one thread more receives for all of them, so that what interrupts a call loses
    nobody else's result.
    """

    def __init__(self, hop: Hop) -> None:
        self._hop = hop
        self._step = 0
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._mine: dict[int, int] = {}
        """By thread the step that it waits for."""
        self._came: dict[int, Any] = {}
        self._error: BaseException | None = None
        threading.Thread(target=self._receive_all, name="glowplug-hops", daemon=True).start()

    def begin(self, call: Call) -> None:
        with self._sending:
            self._step += 1
            self._wait_for(self._step)
            self._hop.send(self._step, (_CALL, *call))

    def finish(self) -> Tensor:
        """Raises FunctionFailed when a part's computation did, and what ended the channel."""
        step = self._mine[threading.get_ident()]
        try:
            with self._changed:
                while step not in self._came:
                    if self._error is not None:
                        raise self._error
                    self._changed.wait(_LOOK_S)
                kind, found = self._came[step]
        finally:
            self._wait_for(None)
        if kind == _FAILED:
            raise FunctionFailed(found)
        tensor: Tensor = found
        return tensor

    def _wait_for(self, step: int | None) -> None:
        """What a thread waited for before is given up."""
        me = threading.get_ident()
        with self._changed:
            self._came.pop(self._mine.pop(me, 0), None)
            if step is not None:
                self._mine[me] = step

    def _receive_all(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            while True:
                came = self._hop.receive(_PATIENCE_S)
                with self._changed:
                    awaited = set(self._mine.values())
                    self._came.update((step, value) for step, value in came if step in awaited)
                    self._changed.notify_all()
                if came:
                    self._hop.done(min(awaited, default=came[-1][0] + 1))
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()


def serve(hop: Hop, stage: Callable[[Call], Call], worker: int) -> None:
    """Computes one step after another until the channel is closed. What the stage raises goes on in the place
    of its result, and is the head's error. Raises ChannelError and FrameError."""
    while True:
        for step, value in hop.receive(_PATIENCE_S):
            if value[0] == _CALL:
                value = _computed(stage, Call(*value[1:]), worker, is_last=hop.is_last)
            hop.send(step, value)
            del value
            hop.done(step + 1)


def _computed(stage: Callable[[Call], Call], call: Call, worker: int, *, is_last: bool) -> tuple[Any, ...]:
    try:
        found = stage(call)
    except Exception as error:
        print_safely(error)
        line = sayable(in_words(error).splitlines()[-1][:_MESSAGE_CHARS])
        return (_FAILED, f"worker {worker} of the gang: {line}")
    return (_RESULT, found.hidden) if is_last else (_CALL, *found)
