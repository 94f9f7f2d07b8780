"""Which way to run a workload: all of them scored, the Pareto front, the choice, and why the others lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from glowplug.core.errors import UserError
from glowplug.core.units import show_bytes, show_seconds
from glowplug.policy.plans import CannotSpread, Plan
from glowplug.policy.plans.billing import Prices
from glowplug.policy.plans.channels import ChannelPlan
from glowplug.policy.plans.channels.nats import NatsCalls
from glowplug.policy.plans.channels.objects import ObjectCalls
from glowplug.policy.plans.channels.queue import QueueCalls
from glowplug.policy.plans.channels.shared_memory import SharedMemoryCalls
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.model import MIB_PER_VCPU, Delays
from glowplug.policy.plans.score import MIB, Score, needed_bytes, pareto, scores, way_name
from glowplug.policy.plans.spread import Spread
from glowplug.policy.registry import POLICIES, policy_class

CHANNELS: dict[str, ChannelPlan] = {
    "queue": QueueCalls(),
    "object": ObjectCalls(),
    "nats": NatsCalls(),
    "shared_memory": SharedMemoryCalls(),
}
WORKERS = (1, 2, 4, 8, 16, 20, 32, 42, 62)
MEMORY_MIB = (256, 512, 1024, 1769, 3538, 5307, 7076, 10240)
"""Lambda goes from 128 to 10,240 MiB."""


class NothingFits(UserError):
    """No plan is within the memory, the deadline or the budget; says how near the nearest comes."""

    status = 422
    code = "nothing_fits"


class Objective(msgspec.Struct, frozen=True):
    """`cheapest` within `deadline_s`, or `fastest` within `budget_usd`."""

    name: Literal["cheapest", "fastest"] = "cheapest"
    deadline_s: float | None = None
    budget_usd: float | None = None

    def worth(self, one: Score) -> tuple[float, float]:
        return (one.usd, one.total_s) if self.name == "cheapest" else (one.total_s, one.usd)

    def misses(self, one: Score) -> str | None:
        """Why it may not be chosen."""
        if self.deadline_s is not None and one.total_s > self.deadline_s:
            return f"takes {show_seconds(one.total_s)}, the deadline is {show_seconds(self.deadline_s)}"
        if self.budget_usd is not None and one.usd > self.budget_usd:
            return f"costs ${one.usd:.4g}, the budget is ${self.budget_usd:.4g}"
        return None


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What may be chosen from, and at what prices and delays. `broker` is the kind of server for `nats`."""

    prices: Prices
    delays: Delays
    objective: Objective = Objective()
    memory_per_worker_bytes: int = MEMORY_MIB[-1] * MIB
    workers: tuple[int, ...] = WORKERS
    channels: tuple[str, ...] = ("queue", "object", "nats")
    plans: tuple[str, ...] = tuple(POLICIES["plans"])
    broker: str = "c5.large"


class Lost(msgspec.Struct, frozen=True):
    """What was not chosen, and why. Without `score` it could not even be tried."""

    name: str
    why: str
    score: Score | None = None


class Choice(msgspec.Struct, frozen=True):
    chosen: Score
    front: tuple[Score, ...]
    lost: tuple[Lost, ...]


def choose(problem: Problem, terms: Terms) -> Choice:
    """Raises NothingFits with what comes nearest."""
    found, lost = score_all(problem, terms)
    allowed = [each for each in found if terms.objective.misses(each) is None]
    if not allowed:
        raise NothingFits(_nearest(problem, terms, found, lost))
    chosen = min(allowed, key=terms.objective.worth)
    beaten = [each for each in _best_of_each(found, terms.objective) if each.name != chosen.name]
    lost = [*lost, *(Lost(each.name, _why(each, chosen, terms.objective), each) for each in beaten)]
    return Choice(chosen, tuple(pareto(found)), tuple(lost))


def score_all(problem: Problem, terms: Terms) -> tuple[list[Score], list[Lost]]:
    """(every way that a worker's memory allows, what it does not allow or nobody can do). What goes without
    saying is said where there is nothing else to say."""
    found: list[Score] = []
    lost: list[Lost] = []
    unsaid: list[Lost] = []
    for plan in terms.plans:
        for workers in terms.workers:
            try:
                spreads = _policy(plan).spreads(problem, workers)
            except CannotSpread as error:
                why_not = Lost(f"{plan} {workers}", error.message)
                (unsaid if _goes_without_saying(plan, workers) else lost).append(why_not)
                continue
            for spread in spreads:
                scored, why = _scores(problem, terms, spread)
                found += scored
                lost += [] if why is None else [why]
    return found, lost if found or lost else unsaid


def _goes_without_saying(plan: str, workers: int) -> bool:
    """Several workers are not serial, one is nothing else, and fewer than four are no two groups."""
    return workers > 1 if plan == "serial" else workers < (4 if plan == "hybrid" else 2)


def _scores(problem: Problem, terms: Terms, spread: Spread) -> tuple[list[Score], Lost | None]:
    need = needed_bytes(spread, problem.machine)
    if need > terms.memory_per_worker_bytes:
        why = f"needs {show_bytes(need)}, limit is {show_bytes(terms.memory_per_worker_bytes)}"
        return [], Lost(way_name(spread.plan, spread.workers, spread.cut), why)
    found: list[Score] = []
    for channel in terms.channels:
        try:
            exchange = CHANNELS[channel].exchange(spread, terms.delays)
        except CannotSpread as error:
            name = way_name(spread.plan, spread.workers, spread.cut, channel)
            return found, Lost(name, error.message)
        found += scores(
            spread, channel, exchange,
            memory_sizes(need, terms.memory_per_worker_bytes, problem.machine.threads),
            problem.machine, terms.delays, terms.prices,
            broker=terms.broker if channel == "nats" else None,
        )  # fmt: skip
    return found, None


def memory_sizes(need_bytes: int, limit_bytes: int, threads: int) -> list[int]:
    """What is worth giving to a worker, in MiB: from what it needs up to where more memory brings no more
    vCPU."""
    need, limit = -(-need_bytes // MIB), limit_bytes // MIB
    sizes = [size for size in MEMORY_MIB if need <= size <= limit]
    useful = [size for size in sizes if size <= MIB_PER_VCPU * threads]
    return useful or sizes[:1] or [limit]


def _policy(name: str) -> Plan:
    made: Plan = policy_class("plans", name)()
    return made


def _best_of_each(found: Iterable[Score], objective: Objective) -> list[Score]:
    """One for each plan, number of workers and channel."""
    best: dict[str, Score] = {}
    for each in found:
        rank = (objective.misses(each) is not None, objective.worth(each))
        known = best.get(each.name)
        if known is None or rank < (objective.misses(known) is not None, objective.worth(known)):
            best[each.name] = each
    return sorted(best.values(), key=objective.worth)


def _why(beaten: Score, chosen: Score, objective: Objective) -> str:
    missed = objective.misses(beaten)
    if missed is not None:
        return missed
    dearer, slower = beaten.usd / chosen.usd - 1, beaten.total_s / chosen.total_s - 1
    if objective.name == "cheapest":
        return f"{dearer:.0%} dearer" + (f" and {-slower:.0%} faster" if slower < 0 else "")
    return f"{slower:.0%} slower" + (f" and {-dearer:.0%} cheaper" if dearer < 0 else "")


def _nearest(problem: Problem, terms: Terms, found: Sequence[Score], lost: Sequence[Lost]) -> str:
    if not found:
        reasons = dict.fromkeys(f"{each.name} {each.why}" for each in lost)
        return f"{problem.workload.name}: nothing fits: {'; '.join(list(reasons)[:6])}"
    fastest = min(found, key=lambda each: each.total_s)
    cheapest = min(found, key=lambda each: each.usd)
    return (
        f"{problem.workload.name}: no plan keeps to {_bounds(terms.objective)}; the fastest, {fastest.name}, "
        f"takes {show_seconds(fastest.total_s)} and costs ${fastest.usd:.4g}; the cheapest, {cheapest.name}, "
        f"takes {show_seconds(cheapest.total_s)} and costs ${cheapest.usd:.4g}"
    )


def _bounds(objective: Objective) -> str:
    bounds = []
    if objective.deadline_s is not None:
        bounds.append(f"a deadline of {show_seconds(objective.deadline_s)}")
    if objective.budget_usd is not None:
        bounds.append(f"a budget of ${objective.budget_usd:.4g}")
    return " and ".join(bounds)
