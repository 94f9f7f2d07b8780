"""hybrid: replicas of groups; inside each group the model is spread by rows or as a pipeline."""

from __future__ import annotations

import msgspec
import numpy as np

from glowplug.policy.plans import CannotSpread, Plan
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.pipeline import Pipeline
from glowplug.policy.plans.rows import Rows
from glowplug.policy.plans.spread import Spread, Transfers, gathered, join, split, transfers

INNER: dict[str, Plan] = {"rows": Rows(), "pipeline": Pipeline()}


class Hybrid(msgspec.Struct, frozen=True):
    def spreads(self, problem: Problem, workers: int) -> list[Spread]:
        found = []
        for replicas in range(2, workers // 2 + 1):
            if workers % replicas or replicas > problem.workload.samples:
                continue
            for inner in INNER.values():
                try:
                    largest = problem.with_samples(-(-problem.workload.samples // replicas))
                    found += [
                        repeated(each, replicas, problem)
                        for each in inner.spreads(largest, workers // replicas)
                        if not each.cut.relayed
                    ]
                except CannotSpread:
                    continue
        if not found:
            raise CannotSpread(f"{workers} workers make no two groups that can share the model")
        return found


def repeated(spread: Spread, replicas: int, problem: Problem) -> Spread:
    """`spread`, of the largest share of the samples, in every one of `replicas` groups."""
    size, workers = spread.workers, spread.workers * replicas
    parts = split(problem.workload.samples, replicas)
    return Spread(
        plan="hybrid",
        workers=workers,
        cut=msgspec.structs.replace(spread.cut, replicas=replicas),
        lag=spread.lag,
        shares=tuple(
            msgspec.structs.replace(share, worker=share.worker + group * size, samples=part)
            for group, part in enumerate(parts)
            for share in spread.shares
        ),
        urgent_s=np.tile(spread.urgent_s, (1, replicas)),
        idle_s=np.tile(spread.idle_s, (1, replicas)),
        transfers=_repeated(spread, replicas),
        beside=spread.beside,
    )


def _repeated(spread: Spread, replicas: int) -> Transfers:
    moved, size = spread.transfers, spread.workers
    between = moved.step < spread.steps
    inside = Transfers(*(getattr(moved, name)[between] for name in Transfers.__struct_fields__))
    offset = np.repeat(np.arange(replicas) * size, len(inside))
    columns = [np.tile(getattr(inside, name), replicas) for name in Transfers.__struct_fields__]
    columns[1], columns[2] = columns[1] + offset, columns[2] + offset
    return join([transfers(columns), gathered(spread.steps, _results(spread, replicas))])


def _results(spread: Spread, replicas: int) -> list[float]:
    """Each group's workers have the same parts of the result, of their samples."""
    found = [0.0] * spread.workers
    moved = spread.transfers
    for index in np.flatnonzero(moved.step == spread.steps):
        found[moved.source[index]] = float(moved.nbytes[index])
    if spread.lag:
        found[0] = max(found)
    return found * replicas
