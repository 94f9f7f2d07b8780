"""What a supervisor has to know of the work of a run, and that of a sparse network."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from glowplug.distributed.channels.blobs import Blobs
from glowplug.distributed.checkpoints import Checkpoints
from glowplug.distributed.deploying import Deployed
from glowplug.distributed.orders import ROOT, Orders, lines_for
from glowplug.distributed.start import Work


class Task(msgspec.Struct, frozen=True, eq=False):
    """`orders` lie there for each worker, of the kind `work`. `replaceable` are those for whom another
    process can take over; `lines` tells by worker where each begins in an epoch after the first."""

    run: str
    workers: int
    orders: Path
    replaceable: Collection[int]
    lines: Callable[[int], dict[int, int]]
    work: Work = "network"


def network_task(deployed: Deployed, blobs: Blobs | None) -> Task:
    """`blobs` are where workers checkpoint."""
    orders = deployed.orders
    return Task(
        run=orders.run,
        workers=orders.workers,
        orders=deployed.path,
        replaceable=replaceable(orders),
        lines=lambda epoch: common_lines(orders, blobs, epoch),
    )


def replaceable(orders: Orders) -> set[int]:
    """Those that checkpoint, so that what they need is kept or given again, and those that need nobody; the
    root needs the others' results."""
    alone = {share.members[0] for share in orders.shares if len(share.members) == 1} - {ROOT}
    return alone | {worker for worker in range(orders.workers) if lines_for(orders, worker)}


def common_lines(orders: Orders, blobs: Blobs | None, epoch: int) -> dict[int, int]:
    """Where each worker can begin again so that those it exchanges rows with can too, by worker."""
    reached = {}
    for worker in range(orders.workers):
        checkpoints = Checkpoints(blobs, orders.run, worker, epoch, orders.generation)
        reached[worker] = checkpoints.latest(lines_for(orders, worker), of_all_epochs=True) or 0
    return {
        worker: min(
            reached[member] for share in orders.shares if worker in share.members for member in share.members
        )
        for worker in reached
    }
