"""A workload spread over workers: what each has, computes and sends, step by step.

Every plan makes one of these, and everybody else reads it: the count of calls, the critical path and the
simulation in virtual time; the runner is told the same by `Cut`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.policy.plans.facts import Reals

Ids = NDArray[np.int32]
ROOT = 0
"""The worker that gathers the result."""


class Cut(msgspec.Struct, frozen=True):
    """How the work is cut: enough to do it. `replicas` groups share the samples; inside each, layers are
    cut before those in `stages`, or rows by a partition of `rows` workers; samples pass in
    `micro_batches`. `relayed`: what most pairs of workers exchange goes through the root (`relay.py`)."""

    replicas: int = 1
    stages: tuple[int, ...] = ()
    rows: int = 1
    partition: str = ""
    micro_batches: int = 1
    relayed: bool = False


class Share(msgspec.Struct, frozen=True):
    """One worker's share: half-open ranges of layers and samples, rows of its widest layer, and how many
    samples it takes at a time. `memory_bytes` is weights and activations, without the interpreter;
    `load_bytes` is fetched before it computes: weights, and the inputs that it takes first."""

    worker: int
    layers: tuple[int, int]
    samples: tuple[int, int]
    rows: int
    chunk_samples: int
    memory_bytes: int
    load_bytes: int


class Transfers(msgspec.Struct, frozen=True, eq=False):
    """What is sent, one entry for each (step, source, target), ordered by these.

    It is complete when its step's urgent compute is. `rows` activation rows of `values` numbers, of which
    `live_values` belong to samples that live, take `nbytes` encoded.
    """

    step: Ids
    source: Ids
    target: Ids
    rows: Ids
    values: Reals
    live_values: Reals
    nbytes: Reals

    def __len__(self) -> int:
        return len(self.step)


class Spread(msgspec.Struct, frozen=True, eq=False):
    """A plan's answer for one workload. K steps, P workers; seconds are those of one calibrated core.

    In each step a worker computes `urgent_s`, sends, and computes `idle_s` while messages travel. What is
    sent in step k is needed in step k + `lag`: 1 where workers go through layers together, 0 where step k
    is a micro-batch that passes from each worker to the next one of its chain of `stages`, and of a torch
    model back to the first, which does not wait for it (`returns`). In step K the result goes to the root.
    `beside` says whether calls go on beside computing (`model.is_heavy`). What is sent in the steps
    `relayed` the root passes on in the next; it is of `payloads`, by the step in which they are encoded,
    where `transfers` are not what is encoded and decoded.
    """

    plan: str
    workers: int
    cut: Cut
    lag: int
    shares: tuple[Share, ...]
    urgent_s: Reals  # (K, P)
    idle_s: Reals  # (K, P)
    transfers: Transfers
    beside: bool = False
    payloads: Transfers | None = None
    relayed: tuple[int, ...] = ()

    @property
    def steps(self) -> int:
        return len(self.urgent_s)

    @property
    def stages(self) -> int:
        return len(self.cut.stages) + 1

    @property
    def memory_bytes(self) -> int:
        """Of the worker that needs most."""
        return max(share.memory_bytes for share in self.shares)

    @property
    def compute_s(self) -> Reals:
        """(P,)"""
        busy: Reals = self.urgent_s.sum(axis=0) + self.idle_s.sum(axis=0)
        return busy

    @property
    def returns(self) -> NDArray[np.bool_]:
        """(E,): the transfers that go back along a chain of stages."""
        moved = self.transfers
        back: NDArray[np.bool_] = (moved.step < self.steps) & (moved.target < moved.source)
        return back if not self.lag else np.zeros(len(moved), np.bool_)

    @property
    def rows_sent(self) -> int:
        """Each row once for each target. What the root gathers is not among them."""
        moved = self.transfers if self.payloads is None else self.payloads
        return int(moved.rows[moved.step < self.steps].sum())

    def validate(self) -> None:
        assert self.urgent_s.shape == self.idle_s.shape == (self.steps, self.workers)
        assert [share.worker for share in self.shares] == list(range(self.workers))
        assert (self.urgent_s >= 0).all()
        assert (self.idle_s >= 0).all()
        moved = self.transfers
        assert (moved.source != moved.target).all()
        assert ((moved.source < self.workers) & (moved.target < self.workers)).all()
        assert (moved.step <= self.steps).all()
        assert (moved.target[moved.step == self.steps] == ROOT).all()
        if not self.lag:
            returns = self.returns
            passing = (moved.step < self.steps) & ~returns
            assert (moved.source[passing] % self.stages < self.stages - 1).all()
            assert (moved.target[passing] == moved.source[passing] + 1).all()
            assert (moved.target[returns] == moved.source[returns] - self.stages + 1).all()
            assert (moved.target[returns] % self.stages == 0).all()
        order = np.lexsort((moved.target, moved.source, moved.step))
        assert (order == np.arange(len(moved))).all()


def transfers(columns: Sequence[Any]) -> Transfers:
    """From step, source, target, rows, values, live values and bytes, in whatever order of entries."""
    typed: list[Any] = [np.asarray(column, np.int32) for column in columns[:4]]
    typed += [np.asarray(column, np.float64) for column in columns[4:]]
    order = np.lexsort((typed[2], typed[1], typed[0]))
    return Transfers(*(column[order] for column in typed))


def join(parts: Sequence[Transfers]) -> Transfers:
    names = Transfers.__struct_fields__
    return transfers([np.concatenate([getattr(part, name) for part in parts]) for name in names])


def gathered(steps: int, nbytes: Sequence[float]) -> Transfers:
    """The end of a run: so many bytes of the result go from each worker to the root, if it has any."""
    sources = [worker for worker, size in enumerate(nbytes) if worker != ROOT and size > 0]
    many = len(sources)
    sizes = [nbytes[worker] for worker in sources]
    return transfers([[steps] * many, sources, [ROOT] * many, [0] * many, [0] * many, [0] * many, sizes])


def split(count: int, parts: int) -> list[tuple[int, int]]:
    """Half-open ranges, as even as whole numbers allow."""
    ends = [count * part // parts for part in range(parts + 1)]
    return list(pairwise(ends))
