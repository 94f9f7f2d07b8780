"""hybrid: replicas of groups; inside each group the model is spread by rows or as a pipeline."""

from __future__ import annotations

import msgspec
import numpy as np

from glowplug.policy.plans import CannotSpread, Plan
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.pipeline import Pipeline
from glowplug.policy.plans.rows import Rows
from glowplug.policy.plans.spread import Share, Spread, split, transfers

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
                        repeated(each, replicas, problem) for each in inner.spreads(largest, workers // replicas)
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
    moved = spread.transfers
    offsets = np.repeat(np.arange(replicas) * size, len(moved))
    target = np.tile(moved.target, replicas)
    return Spread(
        plan="hybrid",
        workers=workers,
        cut=msgspec.structs.replace(spread.cut, replicas=replicas),
        lag=spread.lag,
        shares=tuple(
            _moved(share, group * size, part) for group, part in enumerate(parts) for share in spread.shares
        ),
        urgent_s=np.tile(spread.urgent_s, (1, replicas)),
        idle_s=np.tile(spread.idle_s, (1, replicas)),
        transfers=transfers(
            np.tile(moved.step, replicas),
            np.tile(moved.source, replicas) + offsets,
            np.where(target == size, workers, target + offsets),
            np.tile(moved.rows, replicas),
            np.tile(moved.values, replicas),
            np.tile(moved.nbytes, replicas),
        ),
    )


def _moved(share: Share, offset: int, samples: tuple[int, int]) -> Share:
    return msgspec.structs.replace(share, worker=share.worker + offset, samples=samples)
