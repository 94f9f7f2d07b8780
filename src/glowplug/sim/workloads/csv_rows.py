"""Rows of a CSV file with their line numbers, and errors that name them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from glowplug.core.errors import InvalidTrace

_MAX_CHARS = 200
"""Of what was found instead."""


def rows(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, list[str]]]:
    """(line number, the cells of `required` and those of `optional` that the header has) of each row.

    Cells come in the order of `header`, which is yielded first, as line 1. Raises InvalidTrace.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            missing = [name for name in required if name not in header]
            if missing:
                raise InvalidTrace(
                    f"{path}, line 1: columns {','.join(required)} expected, {','.join(missing)} not found "
                    f"in {','.join(header)[:_MAX_CHARS]!r}"
                )
            wanted = [*required, *(name for name in optional if name in header)]
            places = [header.index(name) for name in wanted]
            yield 1, wanted
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise InvalidTrace(
                        f"{path}, line {reader.line_num}: {len(header)} columns expected, found {len(cells)}"
                    )
                yield reader.line_num, [cells[place] for place in places]
    except csv.Error as error:
        raise InvalidTrace(f"{path}, line {reader.line_num}: {error}") from error
    except OSError as error:
        raise InvalidTrace(f"cannot read {path}: {error.strerror}") from error


def broken(path: Path, line: int, column: str, wanted: str, found: str) -> InvalidTrace:
    shown = found[:_MAX_CHARS]
    return InvalidTrace(f"{path}, line {line}, column {column}: {wanted} expected, found {shown!r}")
