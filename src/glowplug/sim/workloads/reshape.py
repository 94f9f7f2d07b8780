"""Traces made of traces: cut, chosen, merged, stretched, brought to a rate. Calls are never thinned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glowplug.core.errors import InvalidWorkload
from glowplug.sim.workloads.trace import TIMER, Facts, Floats, Trace, trace_of


def cut(trace: Trace, start_s: float, end_s: float) -> Trace:
    """The calls of [start_s, end_s), whose times then begin at 0."""
    if not 0 <= start_s < end_s:
        raise InvalidWorkload(f"nothing lies between {start_s:g} and {end_s:g} seconds")
    first, last = np.searchsorted(trace.times_s, (start_s, end_s))
    # What is barely less than the end may round up to the span.
    times_s = _inside(trace.times_s[first:last] - start_s, end_s - start_s)
    columns = {name: column[first:last] for name, column in trace.columns.items()}
    return Trace(times_s, trace.function[first:last], trace.names, end_s - start_s, trace.facts, columns)


def select(trace: Trace, functions: NDArray[Any]) -> Trace:
    """Only these functions, numbered anew in the order given."""
    number = np.full(trace.functions, -1, dtype=np.int32)
    number[functions] = np.arange(len(functions), dtype=np.int32)
    kept = number[trace.function] >= 0
    return Trace(
        trace.times_s[kept],
        number[trace.function[kept]],
        tuple(trace.names[i] for i in functions.tolist()),
        trace.span_s,
        trace.facts.select(functions),
        {name: column[kept] for name, column in trace.columns.items()},
    )


def top(trace: Trace, functions: int) -> Trace:
    """The functions with most calls, the most called first; among equals the one that came first."""
    if functions > trace.functions:
        raise InvalidWorkload(f"top={functions}: the trace has {trace.functions} functions")
    return select(trace, np.argsort(-trace.counts(), kind="stable")[:functions])


def merge(traces: Sequence[Trace]) -> Trace:
    """All calls of all traces over the longest window. Functions of equal names stay apart; a column stays
    when every trace has it.
    """
    offsets = np.cumsum([0, *(trace.functions for trace in traces)])[:-1]
    shared = set.intersection(*(set(trace.columns) for trace in traces)) if traces else set()
    facts = [trace.facts for trace in traces]
    return trace_of(
        np.concatenate([trace.times_s for trace in traces]),
        np.concatenate([trace.function + offset for trace, offset in zip(traces, offsets, strict=True)]),
        [name for trace in traces for name in trace.names],
        max(trace.span_s for trace in traces),
        Facts(
            np.concatenate([each.duration_s for each in facts]),
            np.concatenate([each.memory_bytes for each in facts]),
            tuple(trigger for each in facts for trigger in each.triggers),
        ),
        {name: np.concatenate([trace.columns[name] for trace in traces]) for name in shared},
    )


def stretch(trace: Trace, factor: Floats | float, span_s: float, start_s: Floats | float = 0.0) -> Trace:
    """Each function's time axis times its `factor`, of which [start_s, start_s + span_s) is kept.

    `factor` and `start_s` are one number or one for each function; `start_s` counts on the stretched axis. A
    function's gaps keep their proportions, so the variation of those that stay whole is as it was. Where a
    stretched axis ends before the window does, the function is silent from there on.
    """
    factor_of, start_of = (
        np.broadcast_to(np.asarray(x, dtype=float), trace.functions) for x in (factor, start_s)
    )
    if not (np.isfinite(factor_of).all() and (factor_of > 0).all()):
        raise InvalidWorkload("a time axis is stretched by a positive number")
    times_s = trace.times_s * factor_of[trace.function] - start_of[trace.function]
    kept = (times_s >= 0) & (times_s < span_s)
    columns = {name: column[kept] for name, column in trace.columns.items()}
    return trace_of(times_s[kept], trace.function[kept], trace.names, span_s, trace.facts, columns)


def normalise(trace: Trace, rate_per_min: float, span_s: float | None = None) -> Trace:
    """One factor for all times, so that `rate_per_min` calls a minute are left.

    With a `span_s` the window holds exactly that rate's number of calls, the first ones of the trace, however
    uneven they are; without, the trace stays whole and becomes as long as the rate says. Raises
    InvalidWorkload when the trace has too few calls for the window.
    """
    if not trace.requests:
        raise InvalidWorkload("no calls, so no rate")
    if span_s is None:
        span_s = 60 * trace.requests / rate_per_min
    wanted = round(rate_per_min * span_s / 60)
    if not 0 < wanted <= trace.requests:
        raise InvalidWorkload(
            f"{rate_per_min:g} calls a minute for {span_s / 60:g} minutes are {wanted} calls; "
            f"the trace has {trace.requests}"
        )
    end_s = trace.span_s if wanted == trace.requests else float(trace.times_s[wanted])
    # Parts of the whole first: a factor could be infinite. `end_s` is 0 when all that is left comes at 0.
    part = trace.times_s[:wanted] / end_s if end_s > 0 else trace.times_s[:wanted]
    times_s = _inside(part * span_s, span_s)
    columns = {name: column[:wanted] for name, column in trace.columns.items()}
    return Trace(times_s, trace.function[:wanted], trace.names, span_s, trace.facts, columns)


def jitter_timers(trace: Trace, jitter_s: float, rng: np.random.Generator) -> Trace:
    """Calls of functions that a timer triggers come later by up to `jitter_s`, evenly drawn; those that would
    fall out of the window come at its end.
    """
    timers = np.array([trigger == TIMER for trigger in trace.facts.triggers])
    moved = timers[trace.function]
    times_s = trace.times_s + np.where(moved, rng.uniform(0, jitter_s, trace.requests), 0.0)
    times_s = _inside(times_s, trace.span_s)
    return trace_of(times_s, trace.function, trace.names, trace.span_s, trace.facts, trace.columns)


def _inside(times_s: Floats, span_s: float) -> Floats:
    """Rounding must not bring a time to the end of the window, which is outside."""
    return np.minimum(times_s, np.nextafter(span_s, 0))
