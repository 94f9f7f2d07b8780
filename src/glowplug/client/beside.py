"""Calls beside each other in threads, none of which the end of the process waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any


class Beside:
    """At most `count` calls run at once. Unlike with ThreadPoolExecutor, a process that ends, as by Ctrl-C,
    does not wait for those under way."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._threads = 0
        self._given: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """By one thread. The outcome of `call`, when it has one."""
        future: Future[Any] = Future()
        self._given.put((future, call))
        if self._threads < self._count:
            self._threads += 1
            threading.Thread(target=self._live, name=f"{self._name}_{self._threads}", daemon=True).start()
        return future

    def close(self) -> None:
        """By the thread that submits, and then no more. Threads end after what they are at: whoever gives up
        cancels what he holds."""
        for _ in range(self._threads):
            self._given.put(None)

    def _live(self) -> None:
        while (given := self._given.get()) is not None:
            future, call = given
            del given
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, call
