"""How far has come what takes long: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from glowplug.bench.progress import Lines
from glowplug.cli.output import errors

EVERY_S = 5.0


@contextlib.contextmanager
def progress(
    words: str, console: Console = errors, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[float], None]]:
    """What it yields hears the share that is done. What is over before a line is due says nothing."""
    if not console.is_terminal:
        lines = Lines(words, console, clock, EVERY_S, at_once=False)
        yield lambda share: lines.tell(f"{share:.0%} of the calls")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(words, total=1.0)
        yield lambda share: bar.update(task, completed=share)
