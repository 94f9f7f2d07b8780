"""pipeline: each worker has some whole layers; micro-batches pass from one to the next.

Its ceiling is m / (m + P - 1) of P workers' speed for m micro-batches: the first has to reach the last
worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf

import msgspec
import numpy as np

from glowplug.policy.plans import CannotSpread
from glowplug.policy.plans.facts import VALUE_BYTES, Problem, Reals
from glowplug.policy.plans.memory import LEAST_UNDER_WAY, passing_bytes, whole_layers_bytes
from glowplug.policy.plans.model import is_heavy
from glowplug.policy.plans.spread import Cut, Share, Spread, Transfers, gathered, join, split, transfers

MICRO_BATCHES = (8, 32, 64)
_NEAR = (1.0, 1.003, 1.01)
"""How much dearer than need be the dearest stage may be, where less is handed on for it."""


class Pipeline(msgspec.Struct, frozen=True):
    def spreads(self, problem: Problem, workers: int) -> list[Spread]:
        layers, samples = len(problem.workload.layers), problem.workload.samples
        if workers < 2:
            raise CannotSpread("a pipeline has at least two workers; with one it is serial")
        if workers > layers:
            raise CannotSpread(f"{workers} workers cannot each have one of {layers} layers")
        tried = (samples,) if problem.workload.one_by_one else MICRO_BATCHES
        counts = dict.fromkeys(min(count, samples) for count in tried)
        return [staged(problem, workers, count) for count in counts if count]


def ceiling(workers: int, micro_batches: int) -> float:
    """The most that a pipeline can use of its workers."""
    return micro_batches / (micro_batches + workers - 1)


def staged(problem: Problem, workers: int, micro_batches: int, cuts: tuple[int, ...] = ()) -> Spread:
    """Layers cut before `cuts`; without, so that the slowest stage, with what it hands on and is handed, is
    as fast as whole layers allow."""
    workload = problem.workload
    per_sample_s = [
        problem.layer_s(index, float(layer.edges), 1) for index, layer in enumerate(workload.layers)
    ]
    counts = [end - start for start, end in split(workload.samples, micro_batches)]
    given = list(pairwise((0, *cuts, len(workload.layers)))) if cuts else None
    stages = given or _stages(problem, per_sample_s, workers, counts)
    stage_s = np.array([sum(per_sample_s[start:end]) for start, end in stages])
    fixed_s = np.array([problem.machine.layer_s * (end - start) for start, end in stages])
    result = [0.0] * (workers - 1) + [_gathered_bytes(problem, counts)]
    return Spread(
        plan="pipeline",
        workers=workers,
        cut=Cut(stages=tuple(start for start, _ in stages[1:]), micro_batches=micro_batches),
        lag=0,
        shares=tuple(_share(problem, worker, layers, max(counts)) for worker, layers in enumerate(stages)),
        urgent_s=np.array(counts)[:, None] * stage_s + fixed_s,
        idle_s=np.zeros((micro_batches, workers)),
        transfers=join([_passed_on(problem, stages, counts), gathered(micro_batches, result)]),
        beside=is_heavy(max(layer.edges for layer in workload.layers), max(counts)),
    )


def _gathered_bytes(problem: Problem, counts: Sequence[int]) -> float:
    """What the last worker sends in the end: all of the result, or where each sample goes back by itself the
    last one."""
    workload = problem.workload
    if workload.one_by_one:
        return workload.layers[-1].output.nbytes(float(workload.layers[-1].rows), counts[-1])
    return sum(workload.result_bytes(workload.layers[-1].rows, count) for count in counts)


def _stages(
    problem: Problem, per_sample_s: Sequence[float], workers: int, counts: Sequence[int]
) -> list[tuple[int, int]]:
    """For micro-batches of so many samples each."""
    machine, layers, samples = problem.machine, problem.workload.layers, max(counts)
    values = [float(layer.rows * samples) for layer in layers]
    sizes = [layer.output.nbytes(float(layer.rows), samples) for layer in layers]
    leaving, entering = (
        [
            0.0,
            *(
                each.seconds(1.0, many, many * layer.live_out, size)
                for many, layer, size in zip(values, layers, sizes, strict=True)
            ),
        ]
        for each in machine.codec(whole=True)
    )
    costs = [each * samples + machine.layer_s for each in per_sample_s]
    return cut_evenly(costs, workers, leaving, entering, passes=len(counts))


def _share(problem: Problem, worker: int, layers: tuple[int, int], chunk: int) -> Share:
    """Two buffers of a micro-batch, and one that comes while it computes; of a torch model what
    `passing_bytes` counts."""
    workload = problem.workload
    mine = workload.layers[slice(*layers)]
    weights = sum(layer.weights_bytes for layer in mine)
    enters = workload.layers[layers[0] - 1].rows if worker else workload.input_rows
    widest = max(enters, *(layer.rows for layer in mine))
    inputs = 0 if worker else workload.input_rows * chunk * VALUE_BYTES
    if workload.one_by_one:
        held = weights + passing_bytes(widest * chunk * VALUE_BYTES, LEAST_UNDER_WAY)
    else:
        held = whole_layers_bytes(mine, widest, chunk) + widest * chunk * VALUE_BYTES
    return Share(
        worker=worker,
        layers=layers,
        samples=(0, workload.samples),
        rows=widest,
        chunk_samples=chunk,
        memory_bytes=held,
        load_bytes=weights + inputs,
    )


def _passed_on(problem: Problem, stages: Sequence[tuple[int, int]], counts: Sequence[int]) -> Transfers:
    """To the next; of a torch model also from the last to the first, but for the last micro-batch, which is
    the end."""
    entries = []
    steps = list(enumerate(counts))
    for source, (_, end) in enumerate(stages):
        layer, target, passed = problem.workload.layers[end - 1], source + 1, steps
        if target == len(stages):
            target, passed = 0, steps[:-1] if problem.workload.one_by_one else []
        for step, count in passed:
            values = layer.rows * count
            nbytes = layer.output.nbytes(float(layer.rows), count)
            entries.append((step, source, target, layer.rows, values, values * layer.live_out, nbytes))
    return transfers(list(zip(*entries, strict=True)))


def cut_evenly(
    costs: Sequence[float],
    parts: int,
    leaving: Sequence[float] = (),
    entering: Sequence[float] = (),
    passes: int = 1,
) -> list[tuple[int, int]]:
    """Consecutive ranges, none empty, whose dearest is as cheap as can be, or nearly, and of such those
    through which `passes` come soonest: the first through all, each other when the dearest is free again.
    A range that ends before item i costs `leaving[i]` more, one that begins there `entering[i]`; neither is
    for the first item. Raises ValueError for too many parts."""
    many = len(costs)
    if not 1 <= parts <= many:
        raise ValueError(f"{many} layers cannot be cut into {parts} parts")
    sums = np.concatenate([[0.0], np.cumsum(costs)])
    begins, ends = np.zeros(many + 1), np.zeros(many + 1)
    begins[1:many], ends[1:many] = entering[1:many] or 0.0, leaving[1:many] or 0.0
    cost = np.where(np.tri(many + 1, k=-1).T > 0, (sums + ends)[None, :] - (sums - begins)[:, None], inf)
    least = _dearest(cost, parts)
    found = [_cheapest(np.where(cost <= least * near, cost, inf), parts) for near in _NEAR]

    def taken(ranges: list[tuple[int, int]]) -> float:
        each = [cost[start, end] for start, end in ranges]
        return float(sum(each) + (passes - 1) * max(each))

    return min(found, key=taken)


def _dearest(cost: Reals, parts: int) -> float:
    """Of the ranges whose dearest is the cheapest; `cost[i, j]` is of items i up to j."""
    best = cost[0]
    for _ in range(parts - 1):
        best = np.maximum(best[:, None], cost).min(axis=0)
    return float(best[-1])


def _cheapest(cost: Reals, parts: int) -> list[tuple[int, int]]:
    best, begun = cost[0], []
    for _ in range(parts - 1):
        together = best[:, None] + cost
        begun.append(together.argmin(axis=0))
        best = together.min(axis=0)
    cuts = [len(cost) - 1]
    for first in reversed(begun):
        cuts.append(int(first[cuts[-1]]))
    return list(pairwise([0, *reversed(cuts)]))
