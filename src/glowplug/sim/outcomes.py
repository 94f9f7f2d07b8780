"""What a simulated load on devices came to: latencies, misses, how busy the devices were."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from statistics import median

import msgspec
import numpy as np

from glowplug.core.errors import InvalidWorkload
from glowplug.core.ids import FunctionId
from glowplug.core.units import show_seconds
from glowplug.sim.fleets import Fleet
from glowplug.sim.gateway import Answer
from glowplug.sim.models import ModelProfile
from glowplug.sim.workloads.trace import Trace

_STEP_S = 60.0
_DRAIN_STEP_S = 600.0
_PATIENCE_S = 2e6
"""In virtual time after the last call, beyond what all runs would take one after the other: a run on a device
that is slowed a million times has ended by then."""


class Outcome(msgspec.Struct, frozen=True):
    """Of all requests of a window, each followed to its answer. Latencies are of those that were answered;
    `refused` are the others, by their error's code. NaN where nothing was answered.

    A request is a miss when it was bound to a device that had not its model, a false miss when another
    device had it; `found_ratio` is of those whose model lay on a device, or came to one, as they came.
    `loads`, and of those `copies` and `from_memory`, count loads (control.fleet.tally), those for no request
    in particular among them.
    `utilisation` is the share of the devices' time, from the first request to the last answer, in which they
    computed; one that is gone computes nothing. `wall_s` is what simulating it took.
    """

    requests: int
    answered: int
    refused: dict[str, int]
    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    worst_s: float
    miss_ratio: float
    false_miss_ratio: float
    found_ratio: float
    loads: int
    copies: int
    from_memory: int
    evictions: int
    hottest_copies: float
    utilisation: float
    took_s: float
    wall_s: float


def play(
    fleet: Fleet,
    trace: Trace,
    *,
    tell: Callable[[float], None] = lambda share: None,
    priorities: Sequence[int] = (),
) -> Outcome:
    """Runs a trace to its last answer. `tell` hears the share of the requests that have been answered.

    Raises InvalidWorkload when requests are still waited for long after the last call.
    """
    began_s = time.perf_counter()
    simulation = fleet.simulation
    result = simulation.run(fleet.opening, 0.0)
    asks = fleet.asks(trace, priorities)
    edges = np.searchsorted(trace.times_s, np.arange(0, trace.span_s, _STEP_S))
    for first, last in zip(edges, [*edges[1:], trace.requests], strict=True):
        simulation.run(list(islice(asks, last - first)), min(trace.span_s, simulation.agenda.now_s + _STEP_S))
        tell(len(result.answers) / max(1, trace.requests))
    limit_s = trace.span_s + _PATIENCE_S + fleet.run_s(trace)
    while len(result.answers) < trace.requests:
        if simulation.agenda.now_s > limit_s:
            left = trace.requests - len(result.answers)
            raise InvalidWorkload(
                f"{left:,} of {trace.requests:,} requests are still waited for "
                f"{show_seconds(limit_s - trace.span_s)} after the last call, where a simulation ends"
            )
        simulation.run((), simulation.agenda.now_s + _DRAIN_STEP_S)
        tell(len(result.answers) / trace.requests)
    return _outcome(fleet, trace, result.answers, time.perf_counter() - began_s)


def latencies_s(answers: Sequence[Answer], wanted: Collection[FunctionId] | None = None) -> list[float]:
    """Sorted, of what was answered; of the `wanted` functions alone, if any are named."""
    return sorted(
        answer.latency_s
        for answer in answers
        if answer.code == "ok" and (wanted is None or answer.function in wanted)
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """NaN of nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def offered_load(trace: Trace, models: Sequence[ModelProfile], devices: int) -> float:
    """The devices' time that the runs alone take, over all that there is in the window."""
    counts = trace.counts().tolist()
    run_s = sum(models[k % len(models)].run_s * int(count) for k, count in enumerate(counts))
    return run_s / (devices * trace.span_s)


def run_estimates(fleet: Fleet, trace: Trace, models: Sequence[ModelProfile]) -> float:
    """What the controller expects of a run after all, in times what it takes by its profile: the median of
    the models that were called, on a device of the middle pace."""
    c = fleet.simulation.state.context
    return c.store.fleet.usual_pace * median(
        c.policies.costs.expect_s(c.store.functions[name].active or "", "run") / models[k % len(models)].run_s
        for k, (name, count) in enumerate(zip(fleet.functions, trace.counts().tolist(), strict=True))
        if count
    )


def _outcome(fleet: Fleet, trace: Trace, answers: Sequence[Answer], wall_s: float) -> Outcome:
    c = fleet.simulation.state.context
    tally = c.store.fleet.tally
    ordered = latencies_s(answers)
    first_s = float(trace.times_s[0]) if trace.requests else 0.0
    last_s = max((answer.asked_s + answer.latency_s for answer in answers), default=0.0)
    took_s = max(last_s - first_s, 1e-9)
    hottest = fleet.functions[int(trace.counts().argmax())]
    places = len(c.store.fleet.where.get(hottest, ()))
    bound = max(1, tally.requests)
    return Outcome(
        requests=trace.requests,
        answered=len(ordered),
        refused=dict(Counter(answer.code for answer in answers if answer.code != "ok")),
        mean_s=sum(ordered) / len(ordered) if ordered else float("nan"),
        p50_s=quantile(ordered, 0.5),
        p95_s=quantile(ordered, 0.95),
        p99_s=quantile(ordered, 0.99),
        worst_s=quantile(ordered, 1.0),
        miss_ratio=tally.misses / bound,
        false_miss_ratio=tally.false_misses / bound,
        found_ratio=tally.found / max(1, tally.came),
        loads=tally.loads,
        copies=tally.copies,
        from_memory=tally.from_memory,
        evictions=tally.evictions,
        hottest_copies=tally.copies_on_average(hottest, places, first_s, c.now_s),
        utilisation=tally.compute_s / (fleet.settings.devices * took_s),
        took_s=took_s,
        wall_s=wall_s,
    )
