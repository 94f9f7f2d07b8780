"""Cancelling by an exception: the agent's word comes by a signal, whose handler raises in the user's code."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

from glowplug.core.errors import RequestCancelled
from glowplug.node import wire
from glowplug.node.messages import CancelRequest


class Interrupted(RequestCancelled):
    """The agent's word, as a call finds it; made without arguments, as the interpreter does in a thread. What
    else a function raises of that name is its own."""

    def __init__(self) -> None:
        super().__init__("the request was cancelled")


class Interrupts:
    """Of one worker that runs one call at a time, in its main thread.

    `refuse` is told of a request that does not run, or whose batch goes on without it; `let_go` of one that
    has stopped. The handler raises only while `interruptible`, which whoever writes an answer sets to False.
    """

    def __init__(
        self, control: socket.socket, refuse: Callable[[int], None], let_go: Callable[[int], None]
    ) -> None:
        self._cancels = wire.Receiver(control, CancelRequest)
        self._refuse = refuse
        self._let_go = let_go
        self._running: set[int] = set()
        self._stopped: int | None = None
        self._reads, self._again = False, False
        self.interruptible = False

    def begin(self, requests: Iterable[int]) -> None:
        """These run from now on, and may be interrupted."""
        self.interruptible = True
        self._running = set(requests)

    def leave_out(self, refused: Iterable[int]) -> None:
        """These were refused before the others began. Raises Interrupted when nobody is left."""
        for request in refused:
            self._running.discard(request)
        if not self._running:
            raise Interrupted

    def end(self) -> None:
        """They run no longer."""
        self.interruptible = False
        self._running = set()
        if self._stopped is not None:
            request, self._stopped = self._stopped, None
            self._let_go(request)

    def resume(self) -> None:
        """May be interrupted again; raises what was held off."""
        self.interruptible = True
        if self._stopped is not None:
            self.interruptible = False
            raise Interrupted

    def on_signal(self, *_: object) -> None:
        """Raises RequestCancelled when all that runs is to stop. Any other request is answered for at once:
        whoever runs by then must not be killed for it.

        Signals come while others are handled, and none may raise before what was read is dealt with.
        """
        self._again = True
        if self._reads:
            return
        while self._again:
            self._again, self._reads = False, True
            try:
                for found in self._cancels.waiting():
                    if found is not None:
                        self._cancel(found[0].request)
            finally:
                self._reads = False
        if self._stopped is not None and self.interruptible:
            self.interruptible = False
            raise Interrupted

    def _cancel(self, request: int) -> None:
        if request not in self._running or len(self._running) > 1:
            self._running.discard(request)
            self._refuse(request)
        else:
            self._stopped = request
