"""access_log: the calls of a server of one's own, from what `serve --access-log` wrote."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from glowplug.core.errors import UNREADABLE, InvalidTrace
from glowplug.sim.workloads.one_by_one import one_by_one
from glowplug.sim.workloads.recorded import Recorded
from glowplug.sim.workloads.trace import Trace

_log = logging.getLogger(__name__)
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
_BEGINNING = b'{"time"'


class _Phases(msgspec.Struct):
    compute: Milliseconds = 0.0
    first_compute: Milliseconds = 0.0


class _Line(msgspec.Struct):
    """Of a request's line that which matters here. `function` is empty where it asked for none, and there is
    neither where lines were lost."""

    time: datetime
    function: str = ""
    total_ms: Milliseconds = 0.0
    phases_ms: _Phases = msgspec.field(default_factory=_Phases)


class AccessLog(Recorded, frozen=True, kw_only=True):
    """Requests for functions, refused ones and spawned calls among them, from when they came (the log has
    when they ended).

    `duration_s` of each is what it computed, 0 of a spawned call, whose line is written when it is accepted.
    Other lines count for nothing. A line that was cut off while it was written is left out, and told unless
    it is the last.
    """

    def read_all(self, seed: int) -> Trace:
        path = Path(self.path)
        times_s, durations_s, functions = array("d"), array("d"), array("i")
        numbers: dict[str, int] = {}
        for line in _lines(path):
            if line.function:
                times_s.append(line.time.timestamp() - line.total_ms / 1000)
                durations_s.append((line.phases_ms.compute or line.phases_ms.first_compute) / 1000)
                functions.append(numbers.setdefault(line.function, len(numbers)))
        return one_by_one(path, times_s, functions, list(numbers), {"duration_s": np.array(durations_s)})


def _lines(path: Path) -> Iterator[_Line]:
    """Raises InvalidTrace with the line that is none of an access log, nor of a beginning of one."""
    decoder = msgspec.json.Decoder(_Line)
    torn = 0
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if text == b"\n":
                    continue  # two gateways ended the same line, or one a line that another was writing
                try:
                    yield decoder.decode(text)
                except UNREADABLE as error:
                    if not text.endswith(b"\n"):
                        break
                    # One that was torn in its time, with the next behind it, is JSON as far as it was read.
                    is_whole = isinstance(error, msgspec.ValidationError) and _BEGINNING not in text[1:]
                    if is_whole or not text.startswith(b"{"):
                        what = "no line of an access log"
                        raise InvalidTrace(f"{path}, line {number}: {what}: {error}") from error
                    torn += 1
    except OSError as error:
        raise InvalidTrace(f"cannot read {path}: {error.strerror}") from error
    if torn:
        _log.warning("%s: lines left out, cut off while they were written: %d", path, torn)
