"""How far an experiment has come: a line that changes on a terminal, a line now and then in a file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console

EVERY_S = 20.0


@contextlib.contextmanager
def progress(
    name: str, console: Console, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[str], None]]:
    """What it yields hears words; the last ones that nobody has seen yet are shown at the end."""
    if console.is_terminal:
        with console.status(name) as status:
            yield status.update
        return
    lines = Lines(name, console, clock)
    try:
        yield lines.tell
    finally:
        lines.end()


class Lines:
    """At most one line every `every_s`, with the time since the beginning. The first is shown `at_once`, or
    only of what takes as long."""

    def __init__(
        self, name: str, console: Console, clock: Callable[[], float], every_s: float = EVERY_S,
        *, at_once: bool = True,
    ) -> None:  # fmt: skip
        self._name = name
        self._console = console
        self._clock = clock
        self._every_s = every_s
        self._start_s = clock()
        self._shown_s = self._start_s - (every_s if at_once else 0.0)
        self._unseen = ""

    def tell(self, words: str) -> None:
        if self._clock() - self._shown_s < self._every_s:
            self._unseen = words
            return
        self._show(words)

    def end(self) -> None:
        if self._unseen:
            self._show(self._unseen)

    def _show(self, words: str) -> None:
        self._shown_s = self._clock()
        took_s = self._shown_s - self._start_s
        line = f"{self._name}, {took_s:.0f} s: {words}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._unseen = ""
