"""Processes in virtual time: generators that yield seconds to let pass, or a signal to wait for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any

from glowplug.sim.agenda import Agenda


class Signal:
    """Wakes, in the order in which they came, those who wait for it when it fires. Can fire again."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def wait(self, resume: Callable[[], None]) -> None:
        self._waiting.append(resume)

    def fire(self) -> None:
        """Wakes all."""
        while self._waiting:
            self.wake()

    def wake(self) -> None:
        """Wakes whoever has waited longest, if anybody does."""
        if self._waiting:
            self._waiting.popleft()()

    @property
    def awaited(self) -> bool:
        return bool(self._waiting)


Process = Generator[float | Signal, None, Any]


def start(agenda: Agenda, process: Process, done: Callable[[], None] | None = None) -> None:
    """Runs a process from now on; `done` is called when it has ended."""

    def resume() -> None:
        try:
            wanted = next(process)
        except StopIteration:
            if done is not None:
                done()
            return
        if isinstance(wanted, Signal):
            wanted.wait(resume)
        elif wanted > 0:
            agenda.at(agenda.now_s + wanted, resume)
        else:
            agenda.at(agenda.now_s, resume)

    resume()


def together(agenda: Agenda, processes: Iterable[Process]) -> Process:
    """A process that ends when all of these have."""
    running = list(processes)
    ended, left = Signal(), [len(running)]

    def one_done() -> None:
        left[0] -= 1
        if not left[0]:
            agenda.at(agenda.now_s, ended.fire)

    for process in running:
        agenda.at(agenda.now_s, partial(start, agenda, process, one_done))
    if running:
        yield ended
