"""What a plan has to know of a network, its inputs and a partition: counts, no weights.

`distributed/facts.py` fills these in; a plan reads nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.policy.plans.model import MachineModel, Some

Counts = NDArray[np.int64]
Reals = NDArray[np.float64]
CHUNK_SAMPLES = 1024
VALUE_BYTES = 4
"""Activations are fp32."""


class Encoding(msgspec.Struct, frozen=True):
    """What a message of a layer's output takes as encoded: a form in rows and samples, fitted to encoded
    samples."""

    message_bytes: float = 0.0
    sample_bytes: float = 0.0
    row_bytes: float = 0.0
    value_bytes: float = float(VALUE_BYTES)

    def nbytes(self, rows: Some, samples: float) -> Some:
        """For one message of so many rows, or an array of them."""
        return (
            self.message_bytes
            + self.sample_bytes * samples
            + rows * (self.row_bytes + self.value_bytes * samples)
        )


class LayerFacts(msgspec.Struct, frozen=True):
    """`live` is the share of samples that enter the layer with a non-zero, `live_out` that leave it with one;
    `output` what all of its rows take in one message."""

    rows: int
    edges: int
    weights_bytes: int
    live: float
    live_out: float
    output: Encoding


class WorkloadFacts(msgspec.Struct, frozen=True):
    """A network and the samples that it is run on. `collect` is what is wanted of the last layer.
    `one_by_one`: workers answer one sample after another, and have no kernel of ours (torch models); then
    `answer_bytes` has what one sample takes in a result, 0 where that is not known."""

    name: str
    samples: int
    input_rows: int
    layers: tuple[LayerFacts, ...]
    collect: Literal["categories", "rows"] = "categories"
    one_by_one: bool = False
    answer_bytes: int = 0

    @property
    def chunk_samples(self) -> int:
        """So many a worker with whole layers takes at a time: enough that a layer's fixed cost vanishes."""
        return 1 if self.one_by_one else CHUNK_SAMPLES

    @property
    def weights_bytes(self) -> int:
        return sum(layer.weights_bytes for layer in self.layers)

    @property
    def edges(self) -> int:
        return sum(layer.edges for layer in self.layers)

    @property
    def widest(self) -> int:
        return max(self.input_rows, *(layer.rows for layer in self.layers))

    def with_samples(self, samples: int) -> WorkloadFacts:
        return msgspec.structs.replace(self, samples=samples)

    def result_bytes(self, rows: float, samples: int) -> float:
        """What so many rows of the last layer take in a result: a bit a sample, or the rows."""
        if self.answer_bytes:
            return self.answer_bytes * samples if rows else 0.0
        if self.collect == "categories":
            return -(-samples // 8) if rows else 0.0
        return self.layers[-1].output.nbytes(rows, samples) if rows else 0.0


class PartitionFacts(msgspec.Struct, frozen=True, eq=False):
    """Who has which rows, in numbers. L layers, P workers.

    `sent[l, s, t]` rows of layer l - 1's output go from s to t before layer l; none before layer 0, whose
    inputs are read from a store. Of a worker's edges of a layer, `urgent_edges` belong to rows that wait
    for a message and are waited for, `late_edges` to rows that wait and are not waited for; the rest can be
    computed while messages travel. `remote_edges` read a row that came in a message. `held_rows` is the
    most rows that a worker has at once: those it reads or computes in a layer, whichever are more.
    """

    workers: int
    method: str
    edges: Counts  # (L, P)
    urgent_edges: Counts  # (L, P)
    late_edges: Counts  # (L, P)
    remote_edges: Counts  # (L, P)
    sent: Counts  # (L, P, P)
    weights_bytes: Counts  # (P,)
    rows: Counts  # (P,), that a worker computes, of all layers
    held_rows: Counts  # (P,)
    input_rows: Counts  # (P,), rows of the network's input that a worker reads
    result_rows: Counts  # (P,), rows of the last layer that a worker computes
    messages: tuple[Encoding, ...]  # by layer: of its output between these workers

    @property
    def rows_sent(self) -> int:
        return int(self.sent.sum())

    def validate(self) -> None:
        shape = (len(self.edges), self.workers)
        for edges in (self.edges, self.urgent_edges, self.late_edges, self.remote_edges):
            assert edges.shape == shape
        assert self.sent.shape == (*shape, self.workers)
        assert not self.sent[0].any()
        assert not self.sent[:, np.arange(self.workers), np.arange(self.workers)].any()
        assert (self.urgent_edges + self.late_edges <= self.edges).all()
        assert (self.remote_edges <= self.urgent_edges + self.late_edges).all()
        assert len(self.messages) == len(self.edges)


class Problem(msgspec.Struct, frozen=True, eq=False):
    """What a plan may look at. `partitions` of rows by their number of workers."""

    workload: WorkloadFacts
    machine: MachineModel
    partitions: Mapping[int, PartitionFacts] = {}

    def with_samples(self, samples: int) -> Problem:
        return msgspec.structs.replace(self, workload=self.workload.with_samples(samples))

    def layer_s(self, index: int, edges: Some, samples: float) -> Some:
        """One core's seconds for so many edges of a layer."""
        return edges * (samples / self.machine.rate(self.workload.layers[index].live))
