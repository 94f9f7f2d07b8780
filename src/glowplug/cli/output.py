"""What every command prints with: tables and colours for people, JSON for scripts, errors on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from glowplug.core.errors import CapacityError, GlowplugError, InvalidArguments, UserError

_WIDE = 1000
"""Columns where no terminal says: a row of a table stays one line, for grep and its like."""


class CommandConsole(Console):
    """Every command's."""

    def on_broken_pipe(self) -> None:
        """Whoever read has seen enough: `main` knows that this is no failure."""
        raise


def _console(**options: Any) -> Console:
    """What is printed is often a user's: a colon before and after a word is no picture."""
    found = CommandConsole(emoji=False, **options)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = _WIDE
    return found


console = _console()
errors = _console(stderr=True)


def plain_table(title: str | None = None) -> Table:
    """Without lines, so that its columns can be cut apart by scripts."""
    return Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")


def print_json(value: Any) -> None:
    """One JSON document on stdout, indented."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    sys.stdout.flush()


def print_json_line(value: Any) -> None:
    """One JSON object on a line of its own."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


class UnfailingLines:
    """A text file for a log, over a descriptor that it does not own. What a full disk or a closed pipe does
    not take is lost: whoever logs goes on with what they were about."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            os.write(self._descriptor, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def fail(error: GlowplugError) -> int:
    """Prints an error and returns the exit status that belongs to it."""
    errors.print(f"[bold red]error[/] [dim]{error.code}[/] ", end="")
    errors.print(error.message, markup=False, highlight=False)
    if isinstance(error, CapacityError):
        return 3
    is_misuse = isinstance(error, InvalidArguments) or (isinstance(error, UserError) and error.status == 400)
    return 2 if is_misuse else 1


def check_plot(path: Path | None) -> None:
    """Raises what `drawing` would raise when the work is done."""
    if path is not None:
        from glowplug.bench.pictures.files import check_picture

        with drawing(path):
            check_picture(path)
            if not path.absolute().parent.is_dir():
                raise ValueError(f"there is no folder {path.parent}")


@contextlib.contextmanager
def drawing(path: Path) -> Iterator[None]:
    """Around what draws into `path`. Raises InvalidArguments for a kind of picture that there is not,
    GlowplugError without matplotlib, and where nothing can be written."""
    try:
        yield
    except ValueError as error:
        raise InvalidArguments(f"--plot {path}: {error}", "plot") from error
    except (ImportError, OSError) as error:
        raise GlowplugError(f"cannot draw {path}: {error}") from error
