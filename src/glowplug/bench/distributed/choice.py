"""`distributed`, part `choice`: is what the planner predicts what happens in virtual time, and its choice
the best?

A case is a network, a number of workers and an objective. Everything that may be chosen is run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from glowplug.bench.distributed.ground import Ground, ground_of
from glowplug.bench.distributed.options import Options, Tell
from glowplug.bench.distributed.rows import Row, as_the_paper_bills, calls, nbytes, row
from glowplug.bench.result import Claim, claim
from glowplug.distributed.prices import price_table
from glowplug.distributed.simulate import SimulatedRun, simulate
from glowplug.policy.plans import CannotSpread
from glowplug.policy.plans.billing import Prices
from glowplug.policy.plans.chooser import CHANNELS, Objective
from glowplug.policy.plans.critical_path import floor_s
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.model import DELAYS, Delays
from glowplug.policy.plans.score import Score, scores
from glowplug.policy.plans.spread import Spread
from glowplug.policy.registry import POLICIES, policy_class

CALLS_OFF, BYTES_OFF, SECONDS_OFF, OF_FLOOR, RIGHT = 0.10, 0.10, 0.25, 1.3, 0.9
TIE = 0.02
"""Ways that are so near each other are equally good."""
FEW_CALLS = 50
"""Of so few calls, one more or less says nothing."""
MEMORY_MIB = (512, 1769)


class Tried(NamedTuple):
    """One way to run it: predicted, and run. `of_floor` is its time over what it takes at least, at a whole
    vCPU."""

    spread: Spread
    predicted: Score
    found: SimulatedRun
    usd: float
    of_floor: float | None

    def seen(self) -> Score:
        """As if it had been predicted as it ran."""
        return replace(self.predicted, total_s=self.found.total_s, usd=self.usd)


def run(options: Options, tell: Tell) -> tuple[list[Row], list[Claim], list[str]]:
    """A row for each case, of what was chosen."""
    rows: list[Row] = []
    tried: list[Tried] = []
    delays = DELAYS[options.delays[len(options.delays) // 2]]
    for neurons in options.choice_neurons:
        here = ground_of(options, neurons, 0, tell)
        for workers in options.choice_workers:
            everything = _try_all(here, workers, delays, tell)
            tried += everything
            rows += [_case(here, workers, delays, everything, each) for each in objectives(everything)]
    return rows, [] if options.quick else _claims(tried, rows), []


def objectives(tried: list[Tried]) -> list[Objective]:
    """Two without bounds, and three with bounds that leave a choice."""
    fastest_s = min(each.predicted.total_s for each in tried)
    cheapest_usd = min(each.predicted.usd for each in tried)
    return [
        Objective("cheapest"),
        Objective("fastest"),
        Objective("cheapest", deadline_s=1.5 * fastest_s),
        Objective("cheapest", deadline_s=3 * fastest_s),
        Objective("fastest", budget_usd=2 * cheapest_usd),
    ]


def _try_all(ground: Ground, workers: int, delays: Delays, tell: Tell) -> list[Tried]:
    problem, prices = ground.problem((workers,)), price_table().prices()
    found = []
    for name in POLICIES["plans"]:
        try:
            spreads = policy_class("plans", name)().spreads(problem, 1 if name == "serial" else workers)
        except CannotSpread:
            continue
        for number, spread in enumerate(spreads, 1):
            tell(f"N = {ground.neurons}, {workers} workers: {name}, {number} of {len(spreads)}")
            for channel in ("queue", "object"):
                found += _try(problem, spread, channel, delays, prices)
    return found


def _try(problem: Problem, spread: Spread, channel: str, delays: Delays, prices: Prices) -> list[Tried]:
    exchange = CHANNELS[channel].exchange(spread, delays)
    found = []
    for one in scores(spread, channel, exchange, MEMORY_MIB, problem.machine, delays, prices):
        ran = simulate(spread, channel, problem.machine, delays, one.memory_mib)
        over = None
        if one.memory_mib == MEMORY_MIB[-1]:
            over = (ran.total_s - ran.ready_s) / floor_s(spread, exchange)
        found.append(Tried(spread, one, ran, prices.usd(as_the_paper_bills(ran.usage)), over))
    return found


def _case(ground: Ground, workers: int, delays: Delays, tried: list[Tried], objective: Objective) -> Row:
    """What was chosen by what was predicted, and whether what happened would have chosen as well."""
    allowed = [each for each in tried if objective.misses(each.predicted) is None]
    chosen = min(allowed, key=lambda each: objective.worth(each.predicted))
    kept = [each for each in tried if objective.misses(each.seen()) is None] or allowed
    best = min(kept, key=lambda each: objective.worth(each.seen()))
    right = objective.worth(chosen.seen())[0] <= objective.worth(best.seen())[0] * (1 + TIE)
    return row(
        ground, "choice", "chosen", chosen.predicted.plan, chosen.predicted.channel, chosen.predicted.workers,
        delays, chosen.found, price_table().prices(), spread=chosen.spread, predicted=chosen.predicted,
        memory_mib=chosen.predicted.memory_mib,
    ) | {
        "objective": _named(objective),
        "at_most_workers": workers,
        "ways": len(tried),
        "best": f"{best.predicted.name}, {best.predicted.memory_mib} MiB",
        "right": right,
    }  # fmt: skip


def _named(objective: Objective) -> str:
    bounds = ""
    if objective.deadline_s is not None:
        bounds = f" within {objective.deadline_s:.3g} s"
    if objective.budget_usd is not None:
        bounds = f" for ${objective.budget_usd:.3g}"
    return objective.name + bounds


def _claims(tried: list[Tried], rows: list[Row]) -> list[Claim]:
    busy = [each for each in tried if calls(each.found) >= FEW_CALLS]
    calls_off = _worst(busy, lambda each: (each.predicted.calls, calls(each.found)))
    bytes_off = _worst(busy, lambda each: (each.predicted.nbytes, nbytes(each.found)))
    seconds_off = _worst(tried, lambda each: (each.predicted.total_s, each.found.total_s))
    over = max(each.of_floor for each in tried if each.of_floor is not None)
    right = sum(each["right"] for each in rows) / len(rows)
    return [
        claim("choice: calls off the predicted, worst way", calls_off, "at most", CALLS_OFF),
        claim("choice: bytes off the predicted, worst way", bytes_off, "at most", BYTES_OFF),
        claim("choice: seconds off the predicted, worst way", seconds_off, "at most", SECONDS_OFF),
        claim(f"choice: share of {len(rows)} cases in which it was the best", right, "at least", RIGHT),
        claim("choice: time over the floor, worst way", over, "at most", OF_FLOOR),
    ]


def _worst(tried: list[Tried], pair: Callable[[Tried], tuple[float, float]]) -> float:
    """By what share what was predicted is off what happened."""
    pairs = [pair(each) for each in tried]
    return max((abs(predicted / found - 1) for predicted, found in pairs if found), default=0.0)
