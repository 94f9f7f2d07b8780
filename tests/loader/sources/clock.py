"""Time that moves only when someone waits."""

from __future__ import annotations

import threading


class ManualClock:
    def __init__(self, at_s: float = 100.0) -> None:
        self._at_s = at_s
        self._lock = threading.Lock()

    def now_s(self) -> float:
        return self._at_s

    def wait_until(self, at_s: float) -> None:
        with self._lock:
            self._at_s = max(self._at_s, at_s)
