"""azure_llm: the Azure LLM inference traces of 2023 (Patel et al., Splitwise, ISCA'24) and of 2024 (Stojkovic
et al., DynamoLLM, HPCA'25)."""

from __future__ import annotations

import re
from array import array
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from glowplug.core.errors import InvalidTrace
from glowplug.sim.workloads.csv_rows import broken, rows
from glowplug.sim.workloads.recorded import Recorded
from glowplug.sim.workloads.reshape import merge
from glowplug.sim.workloads.trace import Floats, Trace, trace_of

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_STAMP = re.compile(r"(.{10}[^.Z+-]*)(?:\.([0-9]*))?(Z|[+-].*)?")
"""A date and a time to the second, digits of a second, a zone."""


class AzureLlm(Recorded, frozen=True, kw_only=True):
    """`TIMESTAMP,ContextTokens,GeneratedTokens`; a file, or a folder in which each file is a function.

    Columns of the trace are `context_tokens` and `generated_tokens`. Files of a folder keep their places in
    time; the first call of all is at 0.
    """

    def read_all(self, seed: int) -> Trace:
        path = Path(self.path)
        files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        if not files:
            raise InvalidTrace(f"{path} has no .csv file")
        found = [_read(file) for file in files]
        first_s = min(float(times_s.min()) for times_s, _, _ in found)
        last_s = max(float(times_s.max()) for times_s, _, _ in found)
        calls = sum(len(times_s) for times_s, _, _ in found)
        # One mean gap after the last call, as the trace does not say when it was ended.
        span_s = (last_s - first_s) * (1 + 1 / calls) or 1.0
        return merge(
            [
                trace_of(
                    times_s - first_s,
                    np.zeros(len(times_s), dtype=np.int32),
                    [file.stem],
                    span_s,
                    columns={"context_tokens": context, "generated_tokens": generated},
                )
                for file, (times_s, context, generated) in zip(files, found, strict=True)
            ]
        )


def _read(path: Path) -> tuple[Floats, Floats, Floats]:
    """(seconds since 1970, tokens of the context, tokens generated) of each request."""
    times_s, context, generated = array("d"), array("d"), array("d")
    found = rows(path, COLUMNS)
    next(found)
    for line, (stamp, *tokens) in found:
        times_s.append(_seconds(path, line, stamp))
        for column, values, text in zip(COLUMNS[1:], (context, generated), tokens, strict=True):
            if not text.isdigit():
                raise broken(path, line, column, "a number of tokens", text)
            values.append(float(text))
    if not times_s:
        raise InvalidTrace(f"{path} has no requests")
    return np.array(times_s), np.array(context), np.array(generated)


def _seconds(path: Path, line: int, stamp: str) -> float:
    """Python's clock reads six digits of a second, and the trace of 2023 has seven. A time without a zone is
    UTC."""
    found = _STAMP.fullmatch(stamp)
    try:
        if found is None:
            raise ValueError
        whole, part, zone = found.groups("")
        at = datetime.fromisoformat(whole + zone)
    except ValueError as error:
        raise broken(path, line, "TIMESTAMP", "a time as 2023-11-16 18:17:03.9799600", stamp) from error
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return at.timestamp() + float(f"0.{part}")
