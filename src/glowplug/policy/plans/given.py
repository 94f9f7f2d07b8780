"""What is expected of a way that is given, by its cut: nothing is looked for."""

from __future__ import annotations

from msgspec.structs import replace

from glowplug.policy.plans.chooser import CHANNELS, Terms
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.hybrid import repeated
from glowplug.policy.plans.pipeline import staged
from glowplug.policy.plans.relay import relayed
from glowplug.policy.plans.replicas import whole_model
from glowplug.policy.plans.rows import by_rows
from glowplug.policy.plans.score import Score, scores
from glowplug.policy.plans.spread import Cut, Spread


def of_cut(problem: Problem, cut: Cut) -> Spread:
    """Raises KeyError for rows of which `problem` has no partition."""
    if cut.rows == 1 and not cut.stages:
        plan = "serial" if cut.replicas == 1 else "replicas"
        return whole_model(plan, problem, cut.replicas, cut.micro_batches)
    if cut.replicas > 1:
        largest = problem.with_samples(-(-problem.workload.samples // cut.replicas))
        return repeated(of_cut(largest, replace(cut, replicas=1)), cut.replicas, problem)
    if cut.stages:
        return staged(problem, len(cut.stages) + 1, cut.micro_batches, cut.stages)
    straight = by_rows(problem, problem.partitions[cut.rows])
    through_root = relayed(straight) if cut.relayed else None
    return straight if through_root is None else through_root


def foretell(problem: Problem, terms: Terms, cut: Cut, channel: str, memory_mib: int) -> Score:
    """At the prices and delays of `terms`, with so much memory for each worker, whether it is enough or not.
    Raises CannotSpread where the channel cannot carry it."""
    spread = of_cut(problem, cut)
    exchange = CHANNELS[channel].exchange(spread, terms.delays)
    (found,) = scores(
        spread, channel, exchange, [memory_mib], problem.machine, terms.delays, terms.prices,
        broker=terms.broker if channel == "nats" else None,
    )  # fmt: skip
    return found
