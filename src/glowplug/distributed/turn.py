"""Whose turn it is to compute in a stage that several requests pass."""

from __future__ import annotations

import threading

_LOOK_S = 0.1
"""A thread that waits can be interrupted so often."""


class Turn:
    """One thread's at a time. A thread that has it may take it again, and lets go of it at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holder: int | None = None

    def take(self) -> None:
        """Blocks while it is another's."""
        me = threading.get_ident()
        with self._changed:
            while self._holder not in (None, me):
                self._changed.wait(_LOOK_S)
            self._holder = me

    def leave(self) -> bool:
        """Whether it was this thread's."""
        with self._changed:
            if self._holder != threading.get_ident():
                return False
            self._holder = None
            self._changed.notify()
            return True
