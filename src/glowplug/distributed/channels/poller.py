"""Polls of one queue that go on beside their worker: how many are under way, and what they brought."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from glowplug.distributed.channels.clock import Clock
from glowplug.distributed.channels.messaging import LONGEST_POLL_S, Received
from glowplug.distributed.errors import ChannelError

Outcome = list[Received] | ChannelError


class Poller:
    """A poll that is under way when its asker stops waiting is not lost: it brings its messages next time."""

    def __init__(
        self,
        clock: Clock,
        poll: Callable[[float], list[Received]],
        give_back: Callable[[list[Received]], None],
    ) -> None:
        """`give_back` gets what comes after `close`."""
        self._clock = clock
        self._poll = poll
        self._give_back = give_back
        self._done: deque[Outcome] = deque()
        self._came = clock.gate()
        self._lock = threading.Lock()
        self._under_way = 0
        self._closed = False

    def once(self) -> list[Received]:
        """One poll that does not wait at the service. Raises ChannelError."""
        return self._poll(0.0)

    def next(self, polls: int, until_s: float) -> list[Received] | None:
        """What the first of `polls` brings, maybe nothing, while the others go on; None at `until_s`. Raises
        ChannelError."""
        idle = not self._under_way and not self._done
        if idle and polls == 1 and until_s - self._clock.now_s() >= LONGEST_POLL_S:
            return self._poll(LONGEST_POLL_S)
        with self._lock:
            missing = polls - self._under_way - len(self._done)
            self._under_way += max(0, missing)
        for _ in range(missing):
            self._clock.spawn(self._run)
        return self._first(until_s)

    def close(self) -> None:
        with self._lock:
            self._closed = True

    def _first(self, until_s: float) -> list[Received] | None:
        while not self._done:
            left_s = until_s - self._clock.now_s()
            if left_s <= 0 or not self._came.wait(left_s):
                return None
        outcome = self._done.popleft()
        if not self._done:
            self._came.clear()
            if self._done:
                self._came.set()
        if isinstance(outcome, ChannelError):
            raise outcome
        return outcome

    def _run(self) -> None:
        outcome: Outcome
        try:
            outcome = self._poll(LONGEST_POLL_S)
        except ChannelError as error:
            outcome = error
        with self._lock:
            self._under_way -= 1
            late = self._closed
            self._done.append(outcome)
        self._came.set()
        if late and isinstance(outcome, list) and outcome:
            self._give_back(outcome)
