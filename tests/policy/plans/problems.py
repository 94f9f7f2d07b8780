"""Workloads by their numbers, for plans."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from glowplug.policy.plans.facts import Encoding, LayerFacts, PartitionFacts, Problem, WorkloadFacts
from glowplug.policy.plans.model import CodecCost, MachineModel

MACHINE = MachineModel(
    rates=((0.1, 2e9), (1.0, 4e9)),
    layer_s=1e-5,
    encode=CodecCost(1e-4, 1e-10, 1e-8),
    decode=CodecCost(5e-5, 1e-10, 1e-8),
)
OUTPUT = Encoding(message_bytes=100.0, sample_bytes=0.1, row_bytes=4.0, value_bytes=0.05)


def workload(layers: int = 6, rows: int = 64, samples: int = 500, edges: int = 2048) -> WorkloadFacts:
    layer = LayerFacts(rows, edges, 8 * edges + 12 * rows, live=0.5, live_out=0.5, output=OUTPUT)
    return WorkloadFacts("made-up", samples, rows, (layer,) * layers)


def partition(facts: WorkloadFacts, workers: int, sent: int = 2) -> PartitionFacts:
    """Even parts; each worker sends `sent` rows to each other one before every layer but the first."""
    shape = len(facts.layers), workers
    edges = np.array([[layer.edges // workers] * workers for layer in facts.layers])
    crossing = np.full((*shape, workers), sent)
    crossing[0] = 0
    crossing[:, np.arange(workers), np.arange(workers)] = 0
    waiting = edges * (np.arange(len(facts.layers)) > 0)[:, None]
    each = np.full(workers, facts.layers[0].rows // workers)
    return PartitionFacts(
        workers=workers,
        method="made-up",
        edges=edges,
        urgent_edges=waiting // 2,
        late_edges=waiting // 4,
        remote_edges=waiting // 2,
        sent=crossing,
        weights_bytes=np.full(workers, facts.weights_bytes // workers),
        rows=each * len(facts.layers),
        held_rows=each * 3,
        input_rows=each * 2,
        result_rows=each,
        messages=tuple(layer.output for layer in facts.layers),
    )


def problem(
    layers: int = 6, rows: int = 64, samples: int = 500, machine: MachineModel = MACHINE,
    workers: tuple[int, ...] = (2, 4, 8),
) -> Problem:  # fmt: skip
    facts = workload(layers, rows, samples)
    return Problem(facts, machine, {many: partition(facts, many) for many in workers})


problems = st.builds(
    problem, layers=st.integers(2, 12), rows=st.sampled_from([16, 64, 256]), samples=st.integers(16, 3000)
)
