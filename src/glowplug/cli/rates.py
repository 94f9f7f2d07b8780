"""From two looks at a server's counters to rates and times: what `glowplug top` shows. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from glowplug.core.histogram import BOUNDS_S, quantile_s
from glowplug.core.status import ColdStart, DeviceStatus, FunctionLoad, Load, NodeStatus, Traffic

K = TypeVar("K", str, int)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One function over one interval. `rate` and `failing` are answers a second, all and those of status 429
    or from 500 on; `p50_s` and `p99_s` are None when there were none; `cold_ago_s` belongs to `last_cold`."""

    function: str
    state: str
    step: str
    climbing: int
    parked: int
    busy: int
    queued: int
    in_flight: int
    held_bytes: int
    rate: float
    failing: float
    p50_s: float | None
    p99_s: float | None
    last_cold: ColdStart | None
    cold_ago_s: float | None


class Picture(msgspec.Struct, frozen=True):
    """`interval_s` is what lies between the two looks."""

    interval_s: float
    functions: tuple[Row, ...]
    nodes: tuple[NodeStatus, ...]
    devices: tuple[DeviceStatus, ...] = ()
    gateways: int = 1


SORTS: dict[str, Callable[[Row], tuple[float, ...]]] = {
    "rate": lambda row: (row.rate, row.queued, row.busy, row.parked, row.held_bytes),
    "queue": lambda row: (row.queued, row.rate),
    "p99": lambda row: (row.p99_s or 0.0, row.rate),
    "memory": lambda row: (row.held_bytes, row.rate),
    "cold": lambda row: (row.last_cold.at_s if row.last_cold else 0.0, row.rate),
    "name": lambda row: (),
}
"""By what rows are sorted, the most first; equal ones by name."""


def picture(before: Load, after: Load, wanted: str = "", sort: str = "rate") -> Picture:
    """What happened between two looks. `wanted` is a part of the names to be shown."""
    interval_s = max(after.at_s - before.at_s, 1e-6)
    rows = [_row(load, before, after, interval_s) for load in after.functions if wanted in load.function]
    rows.sort(key=lambda row: row.function)
    rows.sort(key=SORTS[sort], reverse=sort != "name")
    return Picture(interval_s, tuple(rows), after.nodes, after.devices, after.gateways)


def _row(load: FunctionLoad, before: Load, after: Load, interval_s: float) -> Row:
    last = after.traffic.get(load.function, Traffic())
    first = before.traffic.get(load.function, Traffic())
    requests = _grown(first.requests, last.requests)
    by_bucket = _grown(first.seconds, last.seconds)
    counts = [by_bucket.get(index, 0) for index in range(len(BOUNDS_S) + 1)]
    failing = sum(n for status, n in requests.items() if status == "429" or status >= "500")
    cold = last.last_cold
    return Row(
        function=load.function.removesuffix(".default"), state=load.state, step=load.step,
        climbing=load.climbing, parked=load.parked, busy=load.busy,
        queued=load.queued, in_flight=load.in_flight,
        held_bytes=load.staged_bytes + load.worker_bytes + load.weight_bytes,
        rate=sum(requests.values()) / interval_s, failing=failing / interval_s,
        p50_s=quantile_s(counts, 0.5), p99_s=quantile_s(counts, 0.99),
        last_cold=cold, cold_ago_s=None if cold is None else max(0.0, after.at_s - cold.at_s),
    )  # fmt: skip


def _grown(first: dict[K, int], last: dict[K, int]) -> dict[K, int]:
    """By how much each counter grew; one that shrank began again in between."""
    grown = {key: count - first.get(key, 0) for key, count in last.items()}
    return grown if all(count >= 0 for count in grown.values()) else last
