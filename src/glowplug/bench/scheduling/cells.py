"""One simulated run of `scheduling`: a system, a load and a seed, and the row that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace
from typing import Any, Literal

import msgspec
import numpy as np

from glowplug.sim.fleets import FleetSettings, build
from glowplug.sim.models import ModelProfile, read_models
from glowplug.sim.outcomes import latencies_s, offered_load, play, quantile
from glowplug.sim.workloads.registry import make_trace
from glowplug.sim.workloads.reshape import merge
from glowplug.sim.workloads.trace import Trace, trace_of

FLOOR = "all-hit floor"
OURS = "finish-first"
PUBLISHED_EVICTION, OUR_EVICTION = "lru", "value-per-byte"
SIMULATED = "all, with the builtin profiles (after arXiv 2303.05601, recalled)"
_OVERLAPS = ("start-estimate", "mqfq-sticky", OURS)
"""Policies of which loading beside compute is a part."""


Measure = Callable[[str, Sequence["Cell"]], list[dict[str, Any]]]
"""KeptRuns.rows: the part that it is for, the cells, their rows."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """`system` is a scheduling policy, or the floor. `popularity` is `azure`, for the recorded counts of the
    functions called most, or Zipf's exponent. `batch_ratio` is by size what a batch takes, in runs of one;
    ours makes batches where answers may take `latency_target_s`, and none where that is 0. With
    `shared_context_bytes` the models on a device share one context of that size.
    `greedy` is a function that offers `greedy_factor` times its share; `others` has the answers to all but
    it counted."""

    system: str
    eviction: str = ""
    loader: Literal["paper", "ours"] = "paper"
    copy_bytes_per_s: float = 12e9
    popularity: str = "0.9"
    working_set: int = 35
    rate_per_min: float = 325.0
    minutes: float = 30.0
    seed: int = 0
    devices: int = 12
    device_bytes: int = 8 * 10**9
    nodes: int = 1
    host_bytes: int = 128 * 10**9
    shared_context_bytes: int = 0
    batch_ratio: dict[int, float] = {}
    latency_target_s: float = 0.0
    greedy: int | None = None
    greedy_factor: float = 1.0
    traces: str = ""

    @property
    def evicts(self) -> str:
        return self.eviction or (OUR_EVICTION if self.system == OURS else PUBLISHED_EVICTION)

    @property
    def overlaps(self) -> bool:
        return self.system.endswith("-overlap") or self.system in _OVERLAPS


def measure(cell: Cell) -> dict[str, Any]:
    """Simulates it. Raises InvalidTrace when the recorded calls are not there."""
    models, trace = models_of(cell), trace_for(cell)
    load = offered_load(trace, models, cell.devices)
    row: dict[str, Any] = msgspec.to_builtins(cell) | {
        "system": cell.system.removesuffix("-overlap"),
        "policy": cell.system,
        "overlap": cell.overlaps,
        "eviction": cell.evicts,
        "duration_s": trace.span_s,
        "offered_load": load,
        "simulated": SIMULATED,
    }
    for unused in ("traces", "minutes"):
        del row[unused]
    if cell.system == FLOOR:
        return row | _floor_row(trace, models, cell.devices)
    fleet = build(settings_of(cell), models, trace.functions, seed=cell.seed)
    outcome = play(fleet, trace)
    row |= msgspec.to_builtins(outcome) | {"load_ratio": outcome.loads / max(1, outcome.requests)}
    if cell.greedy is not None:
        others = set(fleet.functions) - {fleet.functions[cell.greedy]}
        found = latencies_s(fleet.simulation.run((), 0.0).answers, others)
        row["others_p99_s"] = quantile(found, 0.99)
        row["others_mean_s"] = sum(found) / len(found)
    return row


def settings_of(cell: Cell) -> FleetSettings:
    return FleetSettings(
        devices=cell.devices, nodes=cell.nodes, device_bytes=cell.device_bytes, loader=cell.loader,
        copy_bytes_per_s=cell.copy_bytes_per_s, host_bytes=cell.host_bytes,
        shared_context_bytes=cell.shared_context_bytes, scheduling=cell.system, eviction=cell.evicts,
        max_batch=max(cell.batch_ratio, default=1),
        latency_target_s=cell.latency_target_s,
    )  # fmt: skip


def models_of(cell: Cell) -> tuple[ModelProfile, ...]:
    models = read_models()
    if not cell.batch_ratio:
        return models
    return tuple(
        msgspec.structs.replace(
            model, batch_s={size: model.run_s * ratio for size, ratio in cell.batch_ratio.items()}
        )
        for model in models
    )


def trace_for(cell: Cell) -> Trace:
    """The calls, those of the greedy function among them."""
    window = f"rate_per_min={cell.rate_per_min:g},minutes={cell.minutes:g}"
    if cell.popularity == "azure":
        named = f"azure2019:{cell.traces},top={cell.working_set},{window},normalise=minute,spread=uniform"
        return make_trace(named, cell.seed)
    trace = make_trace(f"zipf:functions={cell.working_set},s={cell.popularity},{window}", cell.seed)
    if cell.greedy is None or cell.greedy_factor == 1:
        return trace
    return _with_more(trace, cell.greedy, cell.greedy_factor, cell.seed)


def _with_more(trace: Trace, function: int, factor: float, seed: int) -> Trace:
    """As much more of one function, at times drawn evenly; all other calls stay as they are."""
    own = int(trace.counts()[function])
    more = round(own * (factor - 1))
    times_s = np.sort(np.random.default_rng((seed, 5)).uniform(0, trace.span_s, more))
    extra = trace_of(times_s, np.zeros(more, dtype=np.int32), ["more"], trace.span_s)
    both = merge([trace, extra])
    numbers = np.where(both.function == trace.functions, function, both.function)
    return trace_of(both.times_s, numbers, trace.names, trace.span_s)


def _floor_row(trace: Trace, models: tuple[ModelProfile, ...], devices: int) -> dict[str, Any]:
    """Every model on every device: first come, first served by whichever is free first."""
    free_at_s = [0.0] * devices
    heapify(free_at_s)
    found = []
    for at_s, number in trace.events():
        ends_s = max(at_s, free_at_s[0]) + models[number % len(models)].run_s
        heapreplace(free_at_s, ends_s)
        found.append(ends_s - at_s)
    found.sort()
    return {
        "requests": trace.requests, "answered": trace.requests, "mean_s": sum(found) / len(found),
        "p50_s": quantile(found, 0.5), "p95_s": quantile(found, 0.95), "p99_s": quantile(found, 0.99),
        "worst_s": found[-1], "miss_ratio": 0.0, "false_miss_ratio": 0.0, "load_ratio": 0.0, "loads": 0,
        "copies": 0,
    }  # fmt: skip
