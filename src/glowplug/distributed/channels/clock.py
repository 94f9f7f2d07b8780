"""Time, and work beside other work, as channels use them: real, or virtual (`metered/virtual_time.py`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Gate(Protocol):
    """Shut until somebody sets it."""

    def set(self) -> None: ...

    def clear(self) -> None: ...

    def wait(self, timeout_s: float) -> bool:
        """Whether it is open; not later than after `timeout_s`."""


class Clock(Protocol):
    def now_s(self) -> float:
        """Seconds since some beginning."""

    def sleep(self, seconds: float) -> None: ...

    def spawn(self, work: Callable[[], None]) -> None:
        """Runs `work` beside the caller. It must not raise, and end by itself."""

    def gate(self) -> Gate: ...


class RealClock:
    """Threads, and the monotonic clock."""

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    def spawn(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()

    def gate(self) -> Gate:
        return _RealGate()


class _RealGate:
    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        self._event.clear()

    def wait(self, timeout_s: float) -> bool:
        return self._event.wait(max(0.0, timeout_s))
