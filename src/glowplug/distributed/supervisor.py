"""Turns what a gang decides into processes, and what becomes of them into what it hears."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from glowplug.core import errors
from glowplug.core.errors import DeadlinePassed
from glowplug.distributed.errors import ReplayImpossible, out_of_memory
from glowplug.distributed.gang import Begin, Command, End, Gang, GoBack
from glowplug.distributed.platform import Ended, Event, Platform
from glowplug.distributed.platform_line import Failure, Launch, Reached, Response
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.start import Place, Start
from glowplug.distributed.tasks import Task

GRACE_S = 5.0
"""So long may workers take to say what they did, once the root has the result."""
Watch = Callable[[int, int], None]
"""Told of a worker and the step that it reached."""


class Charge(msgspec.Struct, frozen=True):
    """One process, from start to end: what a function platform bills."""

    place: Place
    ran_s: float
    memory_bytes: int


class Supervisor:
    """One run. `responses` and `charges` fill up while it goes; both are whole when `supervise` returns or
    raises."""

    def __init__(self, platform: Platform, task: Task, options: RunOptions, watch: Watch) -> None:
        self.gang = Gang(task.run, task.workers, options.branching, task.replaceable)
        self.responses: dict[int, Response] = {}
        self.charges: list[Charge] = []
        self.seconds = 0.0
        self._platform, self._task = platform, task
        self._options, self._watch = options, watch
        self._peaks: dict[Place, int] = {}
        self._failures: dict[Place, Failure] = {}
        self._lines: dict[int, int] = {}
        self._end: End | None = None
        self._began_s = time.monotonic()

    def supervise(self) -> None:
        """Returns when the root has written the result. Raises what ended the run instead, DeadlinePassed,
        and OSError where no process can be made. No process is left in any case."""
        self._began_s = time.monotonic()
        try:
            self._obey(self.gang.start())
            while self._end is None:
                self._hear(self._platform.events(self._left_s()))
                if self._end is None and self._left_s() <= 0:
                    self._end = End(DeadlinePassed(self._too_long()))
            self.seconds = time.monotonic() - self._began_s
            if self._end.error is not None:
                raise self._end.error
            self._let_finish()
        finally:
            self._charge(self._platform.end_all())

    def _let_finish(self) -> None:
        until_s = time.monotonic() + GRACE_S
        while len(self.responses) < self._task.workers and time.monotonic() < until_s:
            events = self._platform.events(max(0.0, until_s - time.monotonic()))
            for place, what in events:
                if isinstance(what, Response):
                    self._answered(place, what)
            self._charge(events)

    def _hear(self, events: list[Event]) -> None:
        self._charge(events)
        for place, what in events:
            match what:
                case Launch(worker):
                    self._obey(self.gang.asked(worker))
                case Reached(step):
                    self._watch(place.worker, step)
                case Response():
                    self._answered(place, what)
                    self._obey(self.gang.finished(place, keeps=what.keeps))
                case Failure():
                    self._failures[place] = what
                case Ended():
                    self._obey(self._ended(place, what))

    def _answered(self, place: Place, response: Response) -> None:
        """One of an epoch before is late."""
        if place.epoch == self.gang.epoch:
            self.responses[place.worker] = response

    def _ended(self, place: Place, ended: Ended) -> list[Command]:
        failure = self._failures.pop(place, None)
        if ended.out_of_memory:
            return self.gang.failed(place, out_of_memory(place.worker, self._options.memory_bytes))
        if failure is None:
            return self.gang.lost(place, ended.how)
        if failure.code == ReplayImpossible.code:
            return self.gang.stuck(place, failure.message)
        return self.gang.failed(place, errors.from_code(failure.code, failure.message))

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Begin():
                    self._begin(command)
                case GoBack(epoch):
                    self._charge(self._platform.end_all())
                    self.responses.clear()
                    self._lines = self._task.lines(epoch)
                    self._obey(self.gang.gone_back())
                case End():
                    self._end = command

    def _begin(self, begin: Begin) -> None:
        try:
            self._platform.begin(self._start(begin))
        except DeadlinePassed as error:
            raise DeadlinePassed(f"{self._too_long()}, and {error.message}") from error

    def _too_long(self) -> str:
        return f"the run took longer than {self._options.deadline_s} s"

    def _start(self, begin: Begin) -> Start:
        return Start(
            orders=str(self._task.orders), place=begin.place, line=self._lines.get(begin.place.worker, 0),
            launches=begin.launches, deadline_s=self._left_s(), memory_bytes=self._options.memory_bytes,
            work=self._task.work,
        )  # fmt: skip

    def _charge(self, events: list[Event]) -> None:
        """A limit is billed whole; without one, what was held, as far as it is known."""
        for place, what in events:
            if isinstance(what, Response):
                self._peaks[place] = what.peak_bytes
            elif isinstance(what, Ended):
                held = self._options.memory_bytes or self._peaks.get(place, what.peak_bytes)
                self.charges.append(Charge(place, what.ran_s, held))

    def _left_s(self) -> float:
        return max(0.0, self._began_s + self._options.deadline_s - time.monotonic())
