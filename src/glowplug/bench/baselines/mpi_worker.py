"""One rank of an MPI program: the same partition, layer loop and kernel as a worker's, over MPI's own sends.

    mpiexec -n P python -m glowplug.bench.baselines.mpi_worker ORDERS SECONDS

Rows travel as they are, sends do not block, and nothing is kept: a rank that dies ends them all. Rank 0
writes the result, and to SECONDS what the slowest rank took from its first layer on.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from glowplug.distributed.channels.base import Buffer
from glowplug.distributed.checkpoints import Checkpoints
from glowplug.distributed.frame import Kind, Payload
from glowplug.distributed.loop import LayerLoop
from glowplug.distributed.orders import ROOT, read_orders
from glowplug.distributed.part_file import read_part
from glowplug.distributed.phases import Phases
from glowplug.distributed.post import Open, Parcel
from glowplug.distributed.rows_in_flight import opener
from glowplug.distributed.schedule import Schedule, parts_of
from glowplug.distributed.work import gather
from glowplug.distributed.workload import loops  # noqa: F401 - loads what was compiled


class MpiPost:
    """A post without channel or exchange. All payloads are plain bytes."""

    def __init__(self, communicator: Any, sources: Mapping[int, Sequence[int]], open_payload: Open) -> None:
        self._communicator, self._sources, self._open = communicator, sources, open_payload
        self._sent: list[tuple[Any, Buffer]] = []

    def send(self, step: int, parcels: Sequence[Parcel]) -> None:
        self._sent = [sent for sent in self._sent if not sent[0].Test()]
        for target, wrap in parcels:
            kind, body = wrap()
            assert kind == Kind.BYTES
            self._sent.append((self._communicator.Isend([body, MPI.BYTE], dest=target, tag=step), body))

    def wait(self, step: int) -> dict[int, Any]:
        sources = self._sources.get(step, ())
        return {source: self._open(step, source, self._next(step, source)) for source in sources}

    def wait_until(self, targets: Iterable[int], step: int, most_stalls: int | None = None) -> None:
        """A sender may be as far ahead as MPI lets it."""

    def done(self, step: int) -> None:
        """Nothing is kept."""

    def settle(self, step: int) -> None:
        """There are no checkpoints."""

    def flush(self) -> None:
        MPI.Request.Waitall([request for request, _ in self._sent])

    def close(self) -> None:
        """Nothing runs beside."""

    def _next(self, step: int, source: int) -> Payload:
        """There may be more ranks than cores, so who waits gives way."""
        status = MPI.Status()
        while (message := self._communicator.Improbe(source, step, status)) is None:
            os.sched_yield()
        body = bytearray(status.Get_count(MPI.BYTE))
        message.Recv([body, MPI.BYTE])
        return Payload(Kind.BYTES, memoryview(body))


def main(orders_path: Path, seconds_path: Path) -> None:
    communicator = MPI.COMM_WORLD
    rank = communicator.Get_rank()
    orders = read_orders(orders_path)
    parts = {partition: read_part(orders.part(partition, role)) for partition, role in parts_of(orders, rank)}
    schedule = Schedule(orders, rank, parts)
    post = MpiPost(communicator, schedule.sources(), opener(schedule))
    loop = LayerLoop(
        schedule, parts, np.load(orders.inputs, mmap_mode="r"), post,
        Checkpoints(None, orders.run, rank, 0), Phases(), lambda step: None,
    )  # fmt: skip
    communicator.Barrier()
    began_s = time.monotonic()
    results = loop.run(0)
    gather(schedule, post, results)
    post.flush()
    worked_s = communicator.reduce(time.monotonic() - began_s, MPI.MAX)
    if rank == ROOT:
        seconds_path.write_text(repr(worked_s))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
