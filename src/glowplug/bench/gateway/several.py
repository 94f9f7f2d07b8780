"""Part `several` of `gateway`: an echo of eight workers behind one gateway process or more, decision 074.

wrk has as many threads as there are gateways, on the same cores: it says something where there are several
cores for each of them.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from glowplug.bench.gateway.asks import TOLERANCE, ours, right_answer
from glowplug.bench.gateway.cells import Alive, Measured, measure
from glowplug.bench.harness import running_server
from glowplug.bench.result import spread

COLUMNS = ("gateways", "workers", "at_once", "connections", "rate", "p50_s", "p99_s", "failed", "equal")
CONNECTIONS = 64
AT_ONCE = (1, 4)
"""`target_concurrency`: of more than one, calls run in threads of the worker."""
_SOURCE = """
import glowplug

app = glowplug.App("several")


@app.function(min_workers={workers}, max_workers={workers}, threads=1, target_concurrency={at_once})
def echo(text: str, number: int) -> dict:
    return {{"text": text, "number": number}}
"""


def rows(
    counts: Sequence[int],
    workers: int,
    repeats: int,
    warm_s: int,
    duration_s: int,
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    """One for each number of gateways and each of AT_ONCE, measured in turn. Raises RuntimeError and
    TimeoutError when a server fails or answers wrongly."""
    found: dict[tuple[int, int], list[Measured]] = {}
    with tempfile.TemporaryDirectory(prefix="glowplug-several-") as name:
        for repeat in range(repeats):
            for at_once in AT_ONCE:
                for gateways in counts:
                    tell(f"repeat {repeat + 1}: {gateways} gateways, {at_once} at once")
                    folder = Path(name) / f"{repeat}-{at_once}-{gateways}"
                    one = measure(
                        _served(gateways, workers, at_once, folder), ours("echo"), right_answer("echo"),
                        connections=CONNECTIONS, warm_s=warm_s, duration_s=duration_s, threads=gateways,
                    )  # fmt: skip
                    found.setdefault((at_once, gateways), []).append(one)
    return [_row(*key, workers, measured) for key, measured in found.items()]


@contextlib.contextmanager
def _served(gateways: int, workers: int, at_once: int, folder: Path) -> Iterator[Alive]:
    folder.mkdir(parents=True)
    source = folder / "several_app.py"
    source.write_text(_SOURCE.format(workers=workers, at_once=at_once), encoding="utf-8")
    with running_server([source], folder / "state", options=("--gateways", str(gateways))) as server:
        server.wait_deployed(1)
        yield server


def _row(at_once: int, gateways: int, workers: int, found: list[Measured]) -> dict[str, Any]:
    loads, off = [each.load for each in found], max(each.difference for each in found)
    return {
        "part": "several", "system": "glowplug", "gateways": gateways, "workers": workers, "at_once": at_once,
        "connections": CONNECTIONS, **spread("rate", [load.rate for load in loads]),
        **spread("p50_s", [load.p50_s for load in loads]), **spread("p99_s", [load.p99_s for load in loads]),
        "failed": sum(load.failed for load in loads),
        "ready_s": statistics.median(each.ready_s for each in found),
        "difference": off, "equal": off <= TOLERANCE,
    }  # fmt: skip
