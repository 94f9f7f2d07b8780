"""Group commit: many writes, one flush. While the disk flushes, the next group gathers."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from glowplug.core.errors import Overloaded, Unavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
_MOST_IN_A_GROUP = 512
_MOST_WAITING = 20_000


class _Job:
    __slots__ = ("future", "work")

    def __init__(self, work: Work[Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future


class GroupCommit:
    """One thread that writes, in the order of `submit`. Work is durable once its future has a result.

    A piece of work that raises leaves no trace of itself, and none on the others of its group.
    """

    def __init__(
        self, connection: sqlite3.Connection, after_commit: Callable[[sqlite3.Connection], None]
    ) -> None:
        """Owns `connection`, which is in autocommit mode. `after_commit` runs in the thread."""
        self._connection = connection
        self._after_commit = after_commit
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[_Job] = deque()
        self._ready = threading.Condition()
        self._closing = False
        self.groups = 0
        """Flushes so far."""
        self._thread = threading.Thread(target=self._run, name="calls-write", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> asyncio.Future[T]:
        """Cancelling the future does not undo the work. Raises Overloaded, Unavailable."""
        if self._closing:
            raise Unavailable("the server is shutting down", 1.0)
        if len(self._jobs) >= _MOST_WAITING:
            raise Overloaded("too many calls wait to be written down", 1.0)
        job = _Job(work, self._loop.create_future())
        with self._ready:
            self._jobs.append(job)
            self._ready.notify()
        return job.future

    def close(self) -> None:
        """Finishes what was submitted, then closes the connection. Blocks as long as that takes."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._jobs and not self._closing:
                    self._ready.wait()
                group = [self._jobs.popleft() for _ in range(min(len(self._jobs), _MOST_IN_A_GROUP))]
            if not group:
                return
            try:
                outcomes = self._commit(group)
            except Exception as error:  # not even undone: whoever comes next tries again
                outcomes = [_Raised(error)] * len(group)
            try:
                self._loop.call_soon_threadsafe(_settle, group, outcomes)
            except RuntimeError:
                continue  # nobody is left to be told

    def _commit(self, group: list[_Job]) -> list[Any]:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(job) for job in group]
            connection.execute("COMMIT")
        except Exception as error:
            if connection.in_transaction:
                connection.rollback()
            if len(group) == 1:
                return [_Raised(error)]
            # One that does not fit must not take the others with it.
            return [self._commit([job])[0] for job in group]
        self.groups += 1
        with contextlib.suppress(sqlite3.Error):  # what was committed is durable, whatever fails after it
            self._after_commit(connection)
        return outcomes

    def _attempt(self, job: _Job) -> Any:
        connection = self._connection
        connection.execute("SAVEPOINT one")
        try:
            outcome = job.work(connection)
        except sqlite3.Error:
            raise
        except Exception as error:
            connection.execute("ROLLBACK TO one")
            outcome = _Raised(error)
        connection.execute("RELEASE one")
        return outcome


class _Raised:
    def __init__(self, error: Exception) -> None:
        self.error = error


def _settle(group: list[_Job], outcomes: list[Any]) -> None:
    for job, outcome in zip(group, outcomes, strict=True):
        if job.future.done():
            continue
        if isinstance(outcome, _Raised):
            job.future.set_exception(outcome.error)
        else:
            job.future.set_result(outcome)
