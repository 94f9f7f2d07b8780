"""replicas: the batch is split; each worker has the whole model and some of the samples."""

from __future__ import annotations

import msgspec
import numpy as np

from glowplug.policy.plans import CannotSpread
from glowplug.policy.plans.facts import VALUE_BYTES, Problem, WorkloadFacts
from glowplug.policy.plans.spread import Cut, Share, Spread, split, transfers

CHUNK_SAMPLES = 1024
"""Samples that a worker with whole layers takes at a time: enough that a layer's fixed cost vanishes."""


class Replicas(msgspec.Struct, frozen=True):
    def spreads(self, problem: Problem, workers: int) -> list[Spread]:
        if workers < 2:
            raise CannotSpread("replicas have at least two workers; with one it is serial")
        if workers > problem.workload.samples:
            raise CannotSpread(f"{problem.workload.samples} samples cannot be split over {workers} workers")
        return [whole_model("replicas", problem, workers)]


def whole_model(plan: str, problem: Problem, workers: int) -> Spread:
    """Every worker with all layers, and an even share of the samples."""
    workload, last = problem.workload, problem.workload.layers[-1]
    parts = split(workload.samples, workers)
    per_sample_s = sum(problem.layer_s(index, layer.edges, 1) for index, layer in enumerate(workload.layers))
    chunks = [-(-(end - start) // CHUNK_SAMPLES) for start, end in parts]
    fixed_s = problem.machine.layer_s * len(workload.layers)
    counts = [end - start for start, end in parts]
    busy_s = [count * per_sample_s + chunk * fixed_s for count, chunk in zip(counts, chunks, strict=True)]
    everyone = range(workers)
    return Spread(
        plan=plan,
        workers=workers,
        cut=Cut(replicas=workers, micro_batches=1),
        lag=1,
        shares=tuple(
            Share(
                worker=worker,
                layers=(0, len(workload.layers)),
                samples=part,
                rows=workload.widest,
                chunk_samples=min(CHUNK_SAMPLES, part[1] - part[0]),
                memory_bytes=workload.weights_bytes + _activations(workload, part[1] - part[0]),
                load_bytes=workload.weights_bytes + workload.input_rows * (part[1] - part[0]),
            )
            for worker, part in enumerate(parts)
        ),
        urgent_s=np.array([busy_s]),
        idle_s=np.zeros((1, workers)),
        transfers=transfers(
            [0] * workers, list(everyone), [workers] * workers, [last.rows] * workers,
            [last.rows * count * last.live_out for count in counts],
            [last.output.nbytes(float(last.rows), count) for count in counts],
        ),
    )  # fmt: skip


def _activations(workload: WorkloadFacts, samples: int) -> int:
    """The input as bytes, two buffers of a chunk, and the result."""
    chunk = min(CHUNK_SAMPLES, samples)
    result = workload.layers[-1].rows * samples * VALUE_BYTES
    return workload.input_rows * samples + 2 * workload.widest * chunk * VALUE_BYTES + result
