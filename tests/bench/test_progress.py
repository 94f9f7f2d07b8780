"""Progress in a file: a line now and then, and never none at all."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from glowplug.bench.progress import EVERY_S, progress


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_file_gets_a_line_now_and_then() -> None:
    file, clock = StringIO(), Clock()
    with progress("x", Console(file=file), clock) as tell:
        for number in range(5):
            tell(f"part {number}")
            clock.now_s += EVERY_S / 2
    assert file.getvalue().splitlines() == ["x, 0 s: part 0", "x, 20 s: part 2", "x, 40 s: part 4"]


def test_the_last_words_are_shown_when_it_ends_or_fails() -> None:
    file = StringIO()

    def fails() -> None:
        with progress("x", Console(file=file, width=20), Clock()) as tell:
            tell("begins")
            tell("[much] to say " * 5)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert file.getvalue().splitlines() == ["x, 0 s: begins", "x, 0 s: " + "[much] to say " * 5]


def test_a_terminal_gets_one_line_that_changes() -> None:
    file = StringIO()
    with progress("x", Console(file=file, force_terminal=True), Clock()) as tell:
        tell("part 1")
    assert "x, 0 s" not in file.getvalue()
