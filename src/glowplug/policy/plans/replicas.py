"""replicas: the batch is split; each worker has the whole model and some of the samples."""

from __future__ import annotations

import msgspec
import numpy as np

from glowplug.policy.plans import CannotSpread
from glowplug.policy.plans.facts import VALUE_BYTES, Problem
from glowplug.policy.plans.memory import whole_layers_bytes
from glowplug.policy.plans.spread import Cut, Share, Spread, gathered, split


class Replicas(msgspec.Struct, frozen=True):
    def spreads(self, problem: Problem, workers: int) -> list[Spread]:
        if workers < 2:
            raise CannotSpread("replicas have at least two workers; with one it is serial")
        if workers > problem.workload.samples:
            raise CannotSpread(f"{problem.workload.samples} samples cannot be split over {workers} workers")
        return [whole_model("replicas", problem, workers)]


def whole_model(plan: str, problem: Problem, workers: int, micro_batches: int = 0) -> Spread:
    """Every worker with all layers, and an even share of the samples, in as few `micro_batches` as have at
    most `workload.chunk_samples` where it is not said."""
    workload = problem.workload
    parts = split(workload.samples, workers)
    counts = [end - start for start, end in parts]
    chunks = micro_batches or max(1, -(-max(counts) // workload.chunk_samples))
    per_sample_s = sum(
        problem.layer_s(index, float(layer.edges), 1) for index, layer in enumerate(workload.layers)
    )
    fixed_s = problem.machine.layer_s * len(workload.layers)
    return Spread(
        plan=plan,
        workers=workers,
        cut=Cut(replicas=workers, micro_batches=chunks),
        lag=1,
        shares=tuple(_share(problem, worker, part, chunks) for worker, part in enumerate(parts)),
        urgent_s=np.array([[count * per_sample_s + chunks * fixed_s for count in counts]]),
        idle_s=np.zeros((1, workers)),
        transfers=gathered(1, [workload.result_bytes(workload.layers[-1].rows, count) for count in counts]),
    )


def _share(problem: Problem, worker: int, samples: tuple[int, int], chunks: int) -> Share:
    """Two buffers of a chunk; the inputs are mapped, not held."""
    workload, many = problem.workload, samples[1] - samples[0]
    chunk = -(-many // chunks)
    return Share(
        worker=worker,
        layers=(0, len(workload.layers)),
        samples=samples,
        rows=workload.widest,
        chunk_samples=chunk,
        memory_bytes=whole_layers_bytes(
            workload.layers, workload.widest, chunk, one_by_one=workload.one_by_one
        ),
        load_bytes=workload.weights_bytes + workload.input_rows * chunk * VALUE_BYTES,
    )
