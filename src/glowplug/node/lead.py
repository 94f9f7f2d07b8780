"""Which thread reads the data socket of a worker whose calls run in threads.

To wake another thread and to be woken costs as much as several short calls. So a thread that has nothing to
run takes the lead: it waits for the socket itself, and keeps the lead during a call that should be quick. For
a longer one it gives the lead to the main thread, which is one system call and wakes nobody: the socket joins
the descriptors that the main thread waits for anyway. A quick call that turns out long is found out by the
main thread, which looks every WATCH_S while there are quick calls.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from time import monotonic

from glowplug.node.call_thread import CallThread
from glowplug.transport.several_gateways import SeveralGateways
from glowplug.transport.worker_side import WorkerEndpoint

WATCH_S = 0.002
"""A quick call that takes longer loses the lead."""
_CALM_S = 0.05
"""Without a quick call for so long nobody looks."""


class Lead:
    """`lock` guards the endpoint and everything here. `on_read` is called with it, when the endpoint was read
    or the lead given up; `on_control` by the main thread, when there is something on `control`."""

    def __init__(
        self,
        endpoint: WorkerEndpoint | SeveralGateways,
        control: socket.socket,
        on_read: Callable[[], None],
        on_control: Callable[[], None],
    ) -> None:
        self.lock = threading.RLock()
        self.holder: CallThread | None = None
        """None: the main thread reads."""
        self.is_over = False
        self._error: BaseException | None = None
        self._endpoint = endpoint
        self._on_read = on_read
        self._on_control = on_control
        self._control_number = control.fileno()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._waits = select.epoll()
        for number in (endpoint.fileno(), self._control_number, self._bell):
            self._waits.register(number, select.EPOLLIN)
        self._quick_since_s = 0.0
        self._last_quick_s = 0.0
        self._is_watching = False

    def run(self) -> None:
        """The main thread's part, until the end. Raises what `end` was told."""
        while not self.is_over:
            for number, _ in self._waits.poll(WATCH_S if self._is_watching else None):
                if number == self._bell:
                    os.eventfd_read(self._bell)
                elif number == self._control_number:
                    self._on_control()
                else:
                    with self.lock:
                        if self.holder is None:
                            self.read()
                            self._endpoint.flush()  # what was dropped unbegun is answered
            if self._is_watching:
                self._look(monotonic())
        if self._error is not None:
            raise self._error

    def _look(self, now_s: float) -> None:
        since_s = self._quick_since_s
        if since_s and now_s - since_s > WATCH_S:
            with self.lock:
                if self._quick_since_s == since_s and self.holder is not None:
                    self.give_up()
        elif now_s - self._last_quick_s > _CALM_S:
            with self.lock:
                self._is_watching = self._quick_since_s > 0.0

    def end(self, error: BaseException | None = None) -> None:
        """The worker's, by any thread. The first that says why is heard."""
        with self.lock:
            if not self.is_over:
                self.is_over, self._error = True, error
                os.eventfd_write(self._bell, 1)

    def take(self, thread: CallThread) -> None:
        """From the main thread, with the lock."""
        self.holder = thread
        self._waits.unregister(self._endpoint.fileno())

    def give_up(self) -> None:
        """To the main thread, with the lock. What was held back is written, what waits is left to others."""
        self._quick_since_s = 0.0
        self._endpoint.flush()
        self.holder = None
        self._waits.register(self._endpoint.fileno(), select.EPOLLIN)
        self._on_read()

    def wait(self, timeout_s: float | None) -> bool:
        """By who has it, with the lock, which is free meanwhile: whether it has read something in time."""
        self._endpoint.flush()
        self.lock.release()
        try:
            has_come = self._endpoint.wait(timeout_s)
        finally:
            self.lock.acquire()
        if has_come:
            self.read()
        return has_come

    def read(self) -> None:
        """By who has it, with the lock."""
        self._endpoint.read()
        if self._endpoint.ended:
            self.end()
        else:
            self._on_read()

    def quick_call(self, now_s: float) -> None:
        """Who has it begins a call that should be quick; with the lock."""
        self._quick_since_s = self._last_quick_s = now_s
        if not self._is_watching:
            self._is_watching = True
            os.eventfd_write(self._bell, 1)

    def quick_call_over(self) -> None:
        """By who has it; with the lock."""
        self._quick_since_s = 0.0
