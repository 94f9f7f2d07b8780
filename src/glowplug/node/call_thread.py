"""A thread that runs the calls of a worker, as the others see it."""

from __future__ import annotations

import threading

from glowplug.node.thread_calls import ThreadCall


class CallThread:
    """All but what `calls` has is done with `lock` held, by whichever thread."""

    def __init__(self, lock: threading.RLock) -> None:
        self.news = threading.Condition(lock)
        """For this thread: there is work, credit, company for a batch, or its request is to stop."""
        self.calls = ThreadCall()
        self.requests: set[int] = set()
        """For which it runs."""
        self.stopped: int | None = None
        """Of these, the one that was cancelled and whose end is waited for."""

    def stop(self, request: int) -> None:
        """Its only request was cancelled."""
        self.stopped = request
        self.calls.interrupt()
        self.news.notify()

    def renew(self) -> None:
        """What it runs from now on may be interrupted once more."""
        self.calls = ThreadCall()

    def end(self) -> int | None:
        """It runs for nobody any longer. The request whose end is waited for, if there is one."""
        self.requests, request = set(), self.stopped
        if request is not None:
            self.stopped = None
            self.renew()
        return request
