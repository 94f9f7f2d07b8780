"""rows: each worker has some rows of every layer; after each layer, rows that others read are sent to them.

Source: FSD-Inference (Oakley & Ferhatosmanoglu, ICDE 2024). Rows that others wait for are computed first,
and what needs no message while messages travel.
"""

from __future__ import annotations

import msgspec
import numpy as np

from glowplug.policy.plans import CannotSpread
from glowplug.policy.plans.facts import VALUE_BYTES, PartitionFacts, Problem, Reals
from glowplug.policy.plans.memory import buffer_bytes, kernel_bytes
from glowplug.policy.plans.model import is_heavy
from glowplug.policy.plans.relay import relayed
from glowplug.policy.plans.spread import Cut, Share, Spread, Transfers, gathered, join, transfers


class Rows(msgspec.Struct, frozen=True):
    def spreads(self, problem: Problem, workers: int) -> list[Spread]:
        if workers < 2:
            raise CannotSpread("rows have at least two workers; with one it is serial")
        narrowest = min(layer.rows for layer in problem.workload.layers)
        if workers > narrowest:
            raise CannotSpread(f"{workers} workers cannot each have one of the {narrowest} rows of a layer")
        partition = problem.partitions.get(workers)
        if partition is None:
            raise CannotSpread(f"there is no partition of the rows over {workers} workers")
        straight = by_rows(problem, partition)
        through_root = relayed(straight)
        return [straight] if through_root is None else [straight, through_root]


def by_rows(problem: Problem, partition: PartitionFacts) -> Spread:
    samples = problem.workload.samples
    urgent_s, idle_s = _compute(problem, partition)
    return Spread(
        plan="rows",
        workers=partition.workers,
        cut=Cut(rows=partition.workers, partition=partition.method),
        lag=1,
        shares=tuple(
            Share(
                worker=worker,
                layers=(0, len(problem.workload.layers)),
                samples=(0, samples),
                rows=int(partition.held_rows[worker]),
                chunk_samples=samples,
                memory_bytes=_held_bytes(partition, worker, samples),
                load_bytes=int(partition.weights_bytes[worker])
                + int(partition.input_rows[worker]) * samples * VALUE_BYTES,
            )
            for worker in range(partition.workers)
        ),
        urgent_s=urgent_s,
        idle_s=idle_s,
        transfers=row_transfers(problem, partition),
        beside=is_heavy(float(partition.edges.max()), samples),
    )


def _held_bytes(partition: PartitionFacts, worker: int, samples: int) -> int:
    rows, edges = int(partition.rows[worker]), int(partition.edges[:, worker].sum())
    kernels = kernel_bytes(rows, edges, has_some=True)
    buffers = buffer_bytes(int(partition.held_rows[worker]), samples)
    return int(partition.weights_bytes[worker]) + kernels + buffers


def _compute(problem: Problem, partition: PartitionFacts) -> tuple[Reals, Reals]:
    """(urgent, idle), each (L, P): what needs no message of a layer is computed in the step before."""
    samples, layers = problem.workload.samples, len(problem.workload.layers)
    early = partition.edges - partition.urgent_edges - partition.late_edges
    urgent, idle = np.zeros(partition.edges.shape), np.zeros(partition.edges.shape)
    for index in range(layers):
        urgent[index] = problem.layer_s(index, partition.urgent_edges[index].astype(float), samples)
        urgent[index] += problem.machine.layer_s
        idle[index] = problem.layer_s(index, partition.late_edges[index].astype(float), samples)
        before = idle[index - 1] if index else urgent[0]
        before += problem.layer_s(index, early[index].astype(float), samples)
    return urgent, idle


def row_transfers(problem: Problem, partition: PartitionFacts) -> Transfers:
    """What step l sends is needed by layer l + 1; in the end, each worker's part of the result."""
    workload, samples = problem.workload, problem.workload.samples
    result = [workload.result_bytes(float(rows), samples) for rows in partition.result_rows]
    parts = [gathered(len(workload.layers), result)]
    for index, layer in enumerate(workload.layers[:-1]):
        source, target = np.nonzero(partition.sent[index + 1])
        rows = partition.sent[index + 1][source, target]
        values = rows.astype(float) * samples
        nbytes = partition.messages[index].nbytes(rows.astype(float), samples)
        step = np.full(len(rows), index)
        parts.append(transfers([step, source, target, rows, values, values * layer.live_out, nbytes]))
    return join(parts)
