"""Many runs that do not disturb each other: side by side on the cores, and none made twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from glowplug.core.forks import die_with_parent

Row = dict[str, Any]
C = TypeVar("C", bound=msgspec.Struct)


class KeptRuns(Generic[C]):
    """Runs cells, each once. `measure` is a function of a module, which makes a cell's row; a cell is known
    by its JSON. With `kept` a run that was cut off goes on where it stopped. To be closed."""

    def __init__(
        self,
        measure: Callable[[C], Row],
        tell: Callable[[str], None],
        *,
        workers: int,
        kept: Path | None = None,
    ) -> None:
        self._measure = measure
        self._tell = tell
        self._path = kept
        self._rows = _read(kept) if kept is not None else {}
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def rows(self, what: str, cells: Sequence[C]) -> list[Row]:
        """The row of each cell, in their order; `what` is the part that they are for. Raises what `measure`
        raises."""
        by_key = {_key(cell): cell for cell in cells}
        missing = {key: cell for key, cell in by_key.items() if key not in self._rows}
        for number, (key, row) in enumerate(self._made(missing), start=len(by_key) - len(missing) + 1):
            self._tell(f"{what}: {number} of {len(by_key)} runs")
            self._rows[key] = row
            if self._path is not None:
                with open(self._path, "ab") as file:
                    file.write(msgspec.json.encode([key, row]) + b"\n")
        return [{"part": what} | self._rows[_key(cell)] for cell in cells]

    def close(self) -> None:
        """Also while something runs, which is then lost."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()

    def _made(self, cells: dict[str, C]) -> Iterator[tuple[str, Row]]:
        if self._workers == 1:
            for key, cell in cells.items():
                yield key, self._measure(cell)
            return
        if self._executor is None:
            self._executor = _executor(self._workers)
        futures = {self._executor.submit(self._measure, cell): key for key, cell in cells.items()}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _key(cell: msgspec.Struct) -> str:
    return msgspec.json.encode(cell).decode()


def _read(path: Path) -> dict[str, Row]:
    """What is kept there; a line that was cut off is as if it were not there."""
    rows: dict[str, Row] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            key, row = msgspec.json.decode(line, type=tuple[str, Row])
        except msgspec.DecodeError:
            continue
        rows[key] = row
    return rows


def _executor(workers: int) -> ProcessPoolExecutor:
    """Fresh processes, for this one may have threads. An interrupt is this process's to handle, its end is
    theirs too."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent)
