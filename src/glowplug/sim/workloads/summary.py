"""A workload in numbers, for people and for the head of a result."""

from __future__ import annotations

import msgspec
import numpy as np

from glowplug.sim.workloads.gaps import Classes, classes, gaps
from glowplug.sim.workloads.trace import Trace

GAP_PERCENTILES = (1, 25, 50, 75, 99)


class Summary(msgspec.Struct, frozen=True):
    """`gap_s` are seconds between a function's calls, over all of them, at GAP_PERCENTILES; None without any.

    `top_share` is what the most called 1, 10 and 100 functions have of all calls. `busiest_minute` and
    `quietest_minute` count calls, over whole minutes. `classes_before` are those of the recorded trace that
    it was made of.
    """

    functions: int
    called: int
    requests: int
    span_s: float
    rate_per_min: float
    busiest_minute: int
    quietest_minute: int
    top_share: dict[str, float]
    classes: Classes
    classes_before: Classes | None
    gap_s: dict[str, float] | None
    gaps_over_10_min: float
    triggers: dict[str, int]
    median_duration_s: float | None
    columns: tuple[str, ...]


def summarise(trace: Trace, source: Trace | None = None) -> Summary:
    counts = np.sort(trace.counts())[::-1]
    gap_s, _ = gaps(trace)
    whole = max(1, int(trace.span_s // 60))
    minutes = np.bincount((trace.times_s // 60).astype(np.int64), minlength=whole)[:whole]
    known_s = trace.facts.median_s()[~np.isnan(trace.facts.median_s())]
    names, of_each = np.unique(np.array(trace.facts.triggers), return_counts=True)
    at = np.percentile(gap_s, GAP_PERCENTILES) if len(gap_s) else None
    return Summary(
        functions=trace.functions,
        called=int((counts > 0).sum()),
        requests=trace.requests,
        span_s=trace.span_s,
        rate_per_min=trace.rate_per_min,
        busiest_minute=int(minutes.max()),
        quietest_minute=int(minutes.min()),
        top_share={str(n): float(counts[:n].sum() / max(1, trace.requests)) for n in (1, 10, 100)},
        classes=classes(trace),
        classes_before=None if source is None else classes(source),
        gap_s=None if at is None else {f"p{p}": float(s) for p, s in zip(GAP_PERCENTILES, at, strict=True)},
        gaps_over_10_min=float((gap_s > 600).mean()) if len(gap_s) else 0.0,
        triggers={str(name): int(n) for name, n in zip(names, of_each, strict=True) if name},
        median_duration_s=float(np.median(known_s)) if len(known_s) else None,
        columns=tuple(sorted(trace.columns)),
    )
