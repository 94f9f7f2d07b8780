"""Virtual time: workers as tasks, of which one runs at a time, in the order of their clocks.

A task is a thread, because a worker's code is ordinary code that blocks. Whoever waits looks for who is next
and hands over to it directly. Computing takes no virtual time unless it says so (`sleep`). Equal times go in
the order in which they were asked for, so that a run is the same each time.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Self

from glowplug.distributed.errors import Deadlock


class VirtualTime:
    """A clock (`channels/clock.py`). `run` gives it tasks; outside of `run` the caller is one itself."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._order = itertools.count()
        self._due: list[tuple[float, int, _Turn | Callable[[], None]]] = []
        self._caller = _Task()
        self._current = self._caller
        self._living: set[_Task] = set()
        self._idle: list[_Task] = []
        self._raised: list[BaseException] = []
        self._stuck = False
        self._closing = False

    def now_s(self) -> float:
        return self._now_s

    def at(self, when_s: float, act: Callable[[], None]) -> None:
        """`act`, which does not wait, at `when_s`, or now when that has passed."""
        self._push(when_s, act)

    def sleep(self, seconds: float) -> None:
        self.gate().wait(seconds)

    def gate(self) -> VirtualGate:
        return VirtualGate(self)

    def spawn(self, work: Callable[[], None]) -> None:
        """A task of its own, which nobody waits for."""
        if self._idle:
            task = self._idle.pop()
        else:
            task = _Task()
            threading.Thread(target=self._carry, args=(task,), daemon=True).start()
        task.work = work
        self._living.add(task)
        self._push(self._now_s, _Turn(task))

    def run(self, work: Sequence[Callable[[], None]]) -> None:
        """Runs the tasks until all have ended; those that they spawned end with them. Raises what the first
        of them raised that did, and Deadlock when all wait for what will not come."""
        over = self.gate()
        left = len(work)

        def counted(function: Callable[[], None]) -> None:
            nonlocal left
            try:
                function()
            except _Cancelled:
                raise
            except BaseException as error:
                self._raised.append(error)
            left -= 1
            if not left or self._raised:
                over.set()

        for function in work:
            self.spawn(partial(counted, function))
        try:
            if left:
                over.waiting.append(_Turn(self._caller))
                self._hand_over(self._caller)
            if self._raised:
                raise self._raised[0]
        finally:
            self.close()

    def close(self) -> None:
        """Ends every task where it waits."""
        self._closing = True
        for task in [*self._living, *self._idle]:
            task.cancelled = True
            self._current = task
            task.turn.release()
            self._caller.turn.acquire()
        self._idle.clear()
        self._raised.clear()
        self._closing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, gate: VirtualGate, timeout_s: float) -> None:
        """Until the gate opens or the time is up, whichever is first; of an infinite time only a gate is."""
        task = self._current
        if task.cancelled:
            raise _Cancelled
        turn = _Turn(task)
        gate.waiting.append(turn)
        if timeout_s < inf:
            self._push(self._now_s + max(0.0, timeout_s), turn)
        self._hand_over(task)
        if turn in gate.waiting:
            gate.waiting.remove(turn)
        if task.cancelled:
            raise _Cancelled

    def wake(self, turn: _Turn) -> None:
        self._push(self._now_s, turn)

    def _push(self, when_s: float, what: _Turn | Callable[[], None]) -> None:
        heapq.heappush(self._due, (max(when_s, self._now_s), next(self._order), what))

    def _hand_over(self, task: _Task) -> None:
        """Returns when it is the turn of `task`, the current one, again."""
        following = self._following()
        if following is not task:
            self._current = following
            following.turn.release()
            task.turn.acquire()
        if task is self._caller and self._stuck:
            self._stuck = False
            raise Deadlock("every worker waits, and nothing is on its way to any")

    def _following(self) -> _Task:
        """Lets time go on until it is somebody's turn."""
        while self._due and not self._closing:
            self._now_s, _, what = heapq.heappop(self._due)
            if not isinstance(what, _Turn):
                what()
            elif not what.taken and not what.task.cancelled:
                what.taken = True
                return what.task
        self._stuck = not self._closing
        return self._caller

    def _carry(self, task: _Task) -> None:
        """A thread's life: one work after another."""
        task.turn.acquire()
        while not task.cancelled:
            try:
                task.work()
            except _Cancelled:
                break
            except BaseException as error:
                self._raised.append(error)
            self._living.discard(task)
            self._idle.append(task)
            self._hand_over(task)
        self._living.discard(task)
        following = self._following()
        self._current = following
        following.turn.release()


class VirtualGate:
    """`clock.Gate` in virtual time."""

    def __init__(self, time: VirtualTime) -> None:
        self.is_open = False
        self.waiting: list[_Turn] = []
        self._time = time

    def set(self) -> None:
        self.is_open = True
        waiting, self.waiting = self.waiting, []
        for turn in waiting:
            self._time.wake(turn)

    def clear(self) -> None:
        self.is_open = False

    def wait(self, timeout_s: float) -> bool:
        if not self.is_open:
            self._time.wait(self, timeout_s)
        return self.is_open


class _Cancelled(BaseException):
    """Unwinds a task that nobody waits for any more."""


class _Task:
    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.turn.acquire()
        self.cancelled = False
        self.work: Callable[[], None] = lambda: None


class _Turn:
    """Of a task that waits. The gate and the time that is up may both give it; the first does."""

    def __init__(self, task: _Task) -> None:
        self.task = task
        self.taken = False
