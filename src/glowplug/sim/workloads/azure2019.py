"""azure2019: minute counts of the Azure Functions 2019 trace, a file or a folder with its days and facts."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from glowplug.core.errors import InvalidTrace, InvalidWorkload
from glowplug.sim.workloads.azure2019_files import AzureFile, Key, azure_files
from glowplug.sim.workloads.draws import draws
from glowplug.sim.workloads.minute_counts import MinuteCounts, Spread
from glowplug.sim.workloads.recorded import Recorded
from glowplug.sim.workloads.trace import Facts, Trace, trace_of


class Azure2019(Recorded, frozen=True, kw_only=True):
    """Files with `HashOwner,HashApp,HashFunction,Trigger,1..N`; owner, app and trigger may be missing.

    Files of durations and memory in the same folder are joined on the columns that they share. Only the
    cells asked for are kept while reading: with `top` or `sample` the files are read twice.
    """

    spread: Annotated[Spread, Meta(description="where in its minute a call is: even, phased or uniform")] = (
        "even"
    )
    normalise: Annotated[
        Literal["time", "minute"],
        Meta(description="how rate_per_min is met: by scaling times, or the counts of every minute"),
    ] = "time"

    def read(self, seed: int) -> Trace:
        files = azure_files(Path(self.path))
        invocations = [file for file in files if file.kind == "invocations"]
        table = _Table(self.start_min, self._read_minutes())
        if self.top is None and self.sample is None:
            table.fill(invocations)
        else:
            totals = _Table(table.start_min, table.most_minutes)
            totals.fill(invocations, totals_only=True)
            chosen = self.choose(np.array(totals.totals), seed)
            assert chosen is not None
            table.expect([totals.keys[i] for i in chosen.tolist()])
            table.fill(invocations)
        if not table.keys:
            raise InvalidTrace(f"{self.path} has no calls")
        counts = self._needed(table.counts())
        times_s, function = counts.times(self.spread, draws(seed, "spread"), len(table.keys))
        names = [key[-1].decode() for key in table.keys]
        facts = _facts(files, invocations[0].ids, table)
        return trace_of(times_s, function, names, 60.0 * counts.minutes, facts)

    def trace(self, seed: int) -> Trace:
        if self.normalise == "minute":
            self._check_minute()
        return super().trace(seed)

    def _read_minutes(self) -> int | None:
        """How many minutes are read at most; None when that depends on how many calls there are."""
        if self.minutes is None or (self.rate_per_min is not None and self.normalise == "time"):
            return None
        return ceil(self.minutes / self.stretch)

    def _needed(self, counts: MinuteCounts) -> MinuteCounts:
        """Without the minutes that scaling to a rate would cut off again."""
        if self.rate_per_min is None:
            return counts
        if self.normalise == "minute":
            return counts.at_rate(round(self.rate_per_min))
        return counts if self.minutes is None else counts.first_calls(round(self.rate_per_min * self.minutes))

    def _check_minute(self) -> None:
        whole = self.rate_per_min is not None and self.rate_per_min == round(self.rate_per_min)
        if not whole or self.minutes is None or self.minutes != round(self.minutes) or self.stretch != 1:
            raise InvalidWorkload("normalise=minute needs a whole rate_per_min and minutes, and no stretch")


class _Table:
    """Sparse counts while files are read. A function is who its row says; days add to each other."""

    def __init__(self, start_min: int, most_minutes: int | None) -> None:
        self.start_min = start_min
        self.most_minutes = most_minutes
        self.minutes = 0
        self.keys: list[Key] = []
        self.triggers: list[str] = []
        self.totals: list[int] = []
        self._numbers: dict[Key, int] = {}
        self._closed = False
        self._cells: list[tuple[int, NDArray[np.int32], NDArray[np.int64]]] = []

    def expect(self, keys: list[Key]) -> None:
        """Only these, in this order."""
        for key in keys:
            self._number(key, "")
        self._closed = True

    def fill(self, files: list[AzureFile], totals_only: bool = False) -> None:
        day_start = 0
        for file in files:
            first = max(self.start_min - day_start, 0)
            last = file.minutes
            if self.most_minutes is not None:
                last = min(last, self.start_min + self.most_minutes - day_start)
            if first < last:
                self._fill_day(file, first, last, day_start - self.start_min, totals_only)
                self.minutes = day_start + last - self.start_min
            day_start += file.minutes
        if not self.minutes or (self.most_minutes or 0) > self.minutes:
            wanted = f" and {self.most_minutes} after it" if self.most_minutes is not None else ""
            raise InvalidWorkload(f"minute {self.start_min}{wanted} are wanted, the trace has {day_start}")

    def _fill_day(self, file: AzureFile, first: int, last: int, offset: int, totals_only: bool) -> None:
        for key, trigger, counts in file.rows():
            if self._closed and key not in self._numbers:
                continue
            number = self._number(key, trigger)
            window = counts[first:last]
            self.totals[number] += int(window.sum())
            if not totals_only and self.totals[number]:
                minutes = np.flatnonzero(window)
                self._cells.append((number, (minutes + (first + offset)).astype(np.int32), window[minutes]))

    def _number(self, key: Key, trigger: str) -> int:
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.keys)
            self.keys.append(key)
            self.triggers.append(trigger)
            self.totals.append(0)
        elif not self.triggers[number]:
            self.triggers[number] = trigger
        return number

    def counts(self) -> MinuteCounts:
        self._cells.sort(key=lambda cell: cell[0])
        lengths = [len(cell[1]) for cell in self._cells]
        none: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)]
        return MinuteCounts(
            np.repeat(np.array([cell[0] for cell in self._cells], dtype=np.int32), lengths),
            np.concatenate([cell[1] for cell in self._cells] or none),
            np.concatenate([cell[2] for cell in self._cells] or none).astype(np.int64),
            self.minutes,
        )


def _facts(files: list[AzureFile], ids: tuple[str, ...], table: _Table) -> Facts:
    """Of each function the first row of durations and of memory that speaks of it, or of its app."""
    facts = Facts.unknown(len(table.keys))
    for file in files:
        if file.kind == "invocations":
            continue
        values = facts.duration_s if file.kind == "durations" else facts.memory_bytes
        shared = [name for name in file.ids if name in ids]
        wanted: dict[Key, list[int]] = {}
        for number, key in enumerate(table.keys):
            wanted.setdefault(tuple(key[ids.index(name)] for name in shared), []).append(number)
        places = [file.ids.index(name) for name in shared]
        for key, row in file.percentiles():
            for number in wanted.pop(tuple(key[i] for i in places), ()):
                if np.isnan(values[number, 0]):
                    values[number] = row
    return Facts(facts.duration_s, facts.memory_bytes, tuple(table.triggers))
