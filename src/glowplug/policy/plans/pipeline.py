"""pipeline: each worker has some whole layers; micro-batches pass from one to the next.

Its ceiling is m / (m + P - 1) of P workers' speed for m micro-batches: the first has to reach the last
worker.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from glowplug.policy.plans import CannotSpread
from glowplug.policy.plans.facts import VALUE_BYTES, Problem, Reals
from glowplug.policy.plans.memory import whole_layers_bytes
from glowplug.policy.plans.model import HEAVY
from glowplug.policy.plans.spread import Cut, Share, Spread, Transfers, gathered, join, split, transfers

MICRO_BATCHES = (8, 32, 64)


class Pipeline(msgspec.Struct, frozen=True):
    def spreads(self, problem: Problem, workers: int) -> list[Spread]:
        layers, samples = len(problem.workload.layers), problem.workload.samples
        if workers < 2:
            raise CannotSpread("a pipeline has at least two workers; with one it is serial")
        if workers > layers:
            raise CannotSpread(f"{workers} workers cannot each have one of {layers} layers")
        counts = dict.fromkeys(min(count, samples) for count in MICRO_BATCHES)
        return [staged(problem, workers, count) for count in counts if count]


def ceiling(workers: int, micro_batches: int) -> float:
    """The most that a pipeline can use of its workers."""
    return micro_batches / (micro_batches + workers - 1)


def staged(problem: Problem, workers: int, micro_batches: int) -> Spread:
    """Layers cut so that the slowest stage is as fast as whole layers allow."""
    workload = problem.workload
    per_sample_s = [
        problem.layer_s(index, float(layer.edges), 1) for index, layer in enumerate(workload.layers)
    ]
    stages = cut_evenly(per_sample_s, workers)
    counts = [end - start for start, end in split(workload.samples, micro_batches)]
    stage_s = np.array([sum(per_sample_s[start:end]) for start, end in stages])
    fixed_s = np.array([problem.machine.layer_s * (end - start) for start, end in stages])
    result = [0.0] * (workers - 1) + [
        sum(workload.result_bytes(workload.layers[-1].rows, count) for count in counts)
    ]
    return Spread(
        plan="pipeline",
        workers=workers,
        cut=Cut(stages=tuple(start for start, _ in stages[1:]), micro_batches=micro_batches),
        lag=0,
        shares=tuple(_share(problem, worker, layers, max(counts)) for worker, layers in enumerate(stages)),
        urgent_s=np.array(counts)[:, None] * stage_s + fixed_s,
        idle_s=np.zeros((micro_batches, workers)),
        transfers=join([_passed_on(problem, stages, counts), gathered(micro_batches, result)]),
        beside=max(layer.edges for layer in workload.layers) * max(counts) >= HEAVY,
    )


def _share(problem: Problem, worker: int, layers: tuple[int, int], chunk: int) -> Share:
    """Two buffers of a micro-batch, and one that comes while it computes."""
    workload = problem.workload
    mine = workload.layers[slice(*layers)]
    weights = sum(layer.weights_bytes for layer in mine)
    enters = workload.layers[layers[0] - 1].rows if worker else workload.input_rows
    widest = max(enters, *(layer.rows for layer in mine))
    inputs = 0 if worker else workload.input_rows * chunk * VALUE_BYTES
    return Share(
        worker=worker,
        layers=layers,
        samples=(0, workload.samples),
        rows=widest,
        chunk_samples=chunk,
        memory_bytes=whole_layers_bytes(mine, widest, chunk) + widest * chunk * VALUE_BYTES,
        load_bytes=weights + inputs,
    )


def _passed_on(problem: Problem, stages: Sequence[tuple[int, int]], counts: Sequence[int]) -> Transfers:
    entries = []
    for source, (_, end) in enumerate(stages[:-1]):
        layer = problem.workload.layers[end - 1]
        for step, count in enumerate(counts):
            values = layer.rows * count
            nbytes = layer.output.nbytes(float(layer.rows), count)
            entries.append((step, source, source + 1, layer.rows, values, values * layer.live_out, nbytes))
    return transfers(list(zip(*entries, strict=True)))


def cut_evenly(costs: Sequence[float], parts: int) -> list[tuple[int, int]]:
    """Consecutive ranges, none empty, whose dearest is as cheap as can be. Raises ValueError for too many
    parts."""
    if not 1 <= parts <= len(costs):
        raise ValueError(f"{len(costs)} layers cannot be cut into {parts} parts")
    sums = np.concatenate([[0.0], np.cumsum(costs)])
    low, high = float(max(costs)), float(sums[-1])
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _needed(sums, middle) <= parts else (middle, high)
    cuts = [0]
    for part in range(parts - 1):
        reach = int(np.searchsorted(sums, sums[cuts[-1]] + high * (1 + 1e-9), side="right")) - 1
        cuts.append(min(max(reach, cuts[-1] + 1), len(costs) - (parts - 1 - part)))
    return list(zip(cuts, [*cuts[1:], len(costs)], strict=True))


def _needed(sums: Reals, most: float) -> int:
    """How many ranges of at most `most` it takes, filling each in turn."""
    start = count = 0
    while start < len(sums) - 1:
        reach = int(np.searchsorted(sums, sums[start] + most * (1 + 1e-9), side="right")) - 1
        start = max(reach, start + 1)
        count += 1
    return count
