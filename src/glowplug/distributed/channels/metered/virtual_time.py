"""Virtual time: workers as tasks, of which one runs at a time, in the order of their clocks.

A task is a thread, because a worker's code is ordinary code that blocks; whoever waits hands over to whoever
is next. Computing takes no virtual time unless it says so (`sleep`). Equal times go in the order in which
they were asked for, so that a run is the same each time.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Self

from glowplug.distributed.errors import Deadlock


class VirtualTime:
    """A clock (`channels/clock.py`). `run` gives it tasks; outside of `run` the caller is one itself."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._tasks: set[_Task] = set()
        self._current: _Task | None = None
        self._turn = threading.Semaphore(0)
        self._raised: list[BaseException] = []

    def now_s(self) -> float:
        return self._now_s

    def at(self, when_s: float, act: Callable[[], None]) -> None:
        """`act`, which does not wait, at `when_s`, or now when that has passed."""
        heapq.heappush(self._due, (max(when_s, self._now_s), next(self._order), act))

    def sleep(self, seconds: float) -> None:
        self.gate().wait(seconds)

    def gate(self) -> VirtualGate:
        return VirtualGate(self)

    def spawn(self, work: Callable[[], None]) -> None:
        """A task of its own, which nobody waits for."""
        self._begin(_Task(work))

    def run(self, work: Sequence[Callable[[], None]]) -> None:
        """Runs the tasks until all have ended; those that they spawned end with them. Raises what the first
        of them raised that did, and Deadlock when all wait for what will not come."""
        mine = [_Task(function) for function in work]
        for task in mine:
            self._begin(task)
        try:
            while not self._raised and not self._tasks.isdisjoint(mine):
                self._step()
            if self._raised:
                raise self._raised[0]
        finally:
            self.close()

    def close(self) -> None:
        """Ends every task where it waits."""
        while self._tasks:
            task = next(iter(self._tasks))
            task.cancelled = True
            self._resume(task)
        self._raised.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, gate: VirtualGate, timeout_s: float) -> None:
        """Until the gate opens or the time is up, whichever is first."""
        until_s = self._now_s + max(0.0, timeout_s)
        if self._current is None:
            self._drive(gate, until_s)
        else:
            self._hand_over(self._current, gate, until_s)

    def _drive(self, gate: VirtualGate, until_s: float) -> None:
        over: list[bool] = []
        self.at(until_s, lambda: over.append(True))
        while not (gate.is_open or over):
            self._step()

    def _hand_over(self, task: _Task, gate: VirtualGate, until_s: float) -> None:
        turn = _Turn(self, task)
        gate.waiting.append(turn)
        self.at(until_s, turn.take)
        self._turn.release()
        task.turn.acquire()
        if turn in gate.waiting:
            gate.waiting.remove(turn)
        if task.cancelled:
            raise _Cancelled

    def _begin(self, task: _Task) -> None:
        self._tasks.add(task)

        def body() -> None:
            task.turn.acquire()
            try:
                if not task.cancelled:
                    task.work()
            except _Cancelled:
                pass
            except BaseException as error:
                self._raised.append(error)
            self._tasks.discard(task)
            self._turn.release()

        threading.Thread(target=body, daemon=True).start()
        self.at(self._now_s, _Turn(self, task).take)

    def _resume(self, task: _Task) -> None:
        """Runs it until it waits or ends. Only where no task runs."""
        self._current = task
        task.turn.release()
        self._turn.acquire()
        self._current = None

    def _step(self) -> None:
        if not self._due:
            raise Deadlock("every worker waits, and nothing is on its way to any")
        self._now_s, _, act = heapq.heappop(self._due)
        act()


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
            self._time.at(self._time.now_s(), turn.take)

    def clear(self) -> None:
        self.is_open = False

    def wait(self, timeout_s: float) -> bool:
        if not self.is_open:
            self._time.wait(self, timeout_s)
        return self.is_open


class _Cancelled(BaseException):
    """Unwinds a task that nobody waits for any more."""


class _Task:
    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.turn = threading.Semaphore(0)
        self.cancelled = False


class _Turn:
    """A task that waits. The gate and the time that is up both wake it; the first does."""

    def __init__(self, time: VirtualTime, task: _Task) -> None:
        self._time = time
        self._task = task
        self._taken = False

    def take(self) -> None:
        if not self._taken and not self._task.cancelled:
            self._taken = True
            self._time._resume(self._task)
