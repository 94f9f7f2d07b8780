"""Calls of a head's model that stop where other workers take over, and go on with what these return.

The model's forward is its author's, so a call that waits keeps a thread; of all of them one computes at a
time, and no other thread does meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from glowplug.distributed.errors import CannotCut
from glowplug.distributed.stages import Call

if TYPE_CHECKING:
    from torch import Tensor


class _Said(NamedTuple):
    """By a call's thread: what it hands over, returned or raised."""

    what: Literal["call", "result", "error"]
    value: Any


class Forward:
    """One call. Its two halves take turns with whoever runs it."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self._said: SimpleQueue[_Said] = SimpleQueue()
        self.came: SimpleQueue[Tensor] = SimpleQueue()
        self._run = run

    def begin(self) -> Call:
        """Up to the first block that is elsewhere. Raises what the model raises, and CannotCut where it does
        not come there."""
        threading.Thread(target=self._work, name="glowplug-forward", daemon=True).start()
        found = self._heard()
        if found.what != "call":
            raise CannotCut("the model did not come to the blocks that other workers have, as on its example")
        call: Call = found.value
        return call

    def finish(self, hidden: Tensor) -> Any:
        """From the last block that is elsewhere, which returned `hidden`. What the model returns."""
        self.came.put(hidden)
        found = self._heard()
        if found.what != "result":
            raise CannotCut("the model called the blocks that other workers have more than once")
        return found.value

    def hand_over(self, call: Call) -> None:
        """In the call's own thread."""
        self._said.put(_Said("call", call))

    def _work(self) -> None:
        import torch

        _mine.forward = self
        try:
            with torch.inference_mode():
                said = _Said("result", self._run())
        except BaseException as error:
            said = _Said("error", error)
        self._said.put(said)

    def _heard(self) -> _Said:
        found = self._said.get()
        if found.what == "error":
            raise found.value
        return found


class _Mine(threading.local):
    forward: Forward


_mine = _Mine()


class Forwards:
    """The other workers, as stand-ins in a call's thread see them (`stages.Peer`)."""

    def begin(self, call: Call) -> None:
        _mine.forward.hand_over(call)

    def finish(self) -> Tensor:
        return _mine.forward.came.get()
