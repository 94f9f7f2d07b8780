"""Many simulated runs: side by side on the cores, and kept in a file so that they are not made twice."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bench.scheduling_cells import Cell, measure
from glowplug.bench.scheduling_options import Options, Tell

Row = dict[str, Any]


class _Kept(msgspec.Struct, frozen=True):
    cell: Cell
    row: Row


class Runs:
    """Simulates cells, each once. To be closed."""

    def __init__(self, options: Options, tell: Tell) -> None:
        self._tell = tell
        self._path = Path(options.resume) if options.resume else None
        self._kept = _read(self._path) if self._path is not None else {}
        self._executor = None if options.workers == 1 else _executor(options.workers)

    def rows(self, what: str, cells: Sequence[Cell]) -> list[Row]:
        """The row of each cell, in their order; `what` is the part that they are for. Raises what simulating
        one raises."""
        missing = [cell for cell in dict.fromkeys(map(_key, cells)) if cell not in self._kept]
        done = len(set(map(_key, cells))) - len(missing)
        for number, (key, row) in enumerate(self._made(missing), start=done + 1):
            self._tell(f"{what}: {number} of {done + len(missing)} runs")
            self._keep(key, row)
        return [{"part": what} | self._kept[_key(cell)] for cell in cells]

    def close(self) -> None:
        """Also while something is being simulated, which is then lost."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()

    def _made(self, keys: Sequence[bytes]) -> Iterator[tuple[bytes, Row]]:
        if self._executor is None:
            for key in keys:
                yield key, _measure(key)
            return
        futures = {self._executor.submit(_measure, key): key for key in keys}
        for future in as_completed(futures):
            yield futures[future], future.result()

    def _keep(self, key: bytes, row: Row) -> None:
        self._kept[key] = row
        if self._path is not None:
            with open(self._path, "ab") as file:
                file.write(msgspec.json.encode(_Kept(msgspec.json.decode(key, type=Cell), row)) + b"\n")


def _key(cell: Cell) -> bytes:
    return msgspec.json.encode(cell)


def _measure(key: bytes) -> Row:
    return measure(msgspec.json.decode(key, type=Cell))


def _read(path: Path) -> dict[bytes, Row]:
    """What is kept there; a line that was cut off is as if it were not there."""
    if not path.exists():
        return {}
    kept: dict[bytes, Row] = {}
    for line in path.read_bytes().splitlines():
        try:
            entry = msgspec.json.decode(line, type=_Kept)
        except msgspec.DecodeError:
            continue
        kept[_key(entry.cell)] = entry.row
    return kept


def _executor(workers: int) -> ProcessPoolExecutor:
    """Fresh processes, for this one may have threads. An interrupt is this process's to handle."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_ignore_interrupts)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


Measure = Callable[[str, Sequence[Cell]], list[Row]]
"""Runs.rows."""
