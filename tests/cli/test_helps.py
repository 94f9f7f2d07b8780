"""What `--help` shows: the examples of each command, and what its author wrote of each parameter."""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import Iterator

import cyclopts
import docstring_parser
import pytest
from rich.console import Console

from glowplug.cli import app, register

register()


def commands(of: cyclopts.App = app, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command, by its words; groups of commands are none."""
    names = [name for name in of if not name.startswith("-")]
    for name in names:
        yield from commands(of[name], (*words, name))
    if not names:
        yield words


def shown(words: tuple[str, ...]) -> str:
    """Its help, in one line."""
    stream = io.StringIO()
    app.help_print(list(words), console=Console(file=stream, width=2000))
    return re.sub(r"[\s│]+", " ", stream.getvalue())


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_help_has_examples_and_all_parameters(words: tuple[str, ...]) -> None:
    text, command = shown(words), app
    for word in words:
        command = command[word]
    assert command.default_command is not None
    written = inspect.getdoc(command.default_command) or ""
    assert f"For example: glowplug {' '.join(words)}" in text
    for parameter in docstring_parser.parse(written, docstring_parser.DocstringStyle.NUMPYDOC).params:
        first = " ".join((parameter.description or "").replace("`", "").split()[:4])
        assert first in text, parameter.arg_name
