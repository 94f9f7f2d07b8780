"""What a worker is told: the run's orders, the same for all, and where it stands in it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from glowplug.distributed import run_orders
from glowplug.distributed.assignment import Share
from glowplug.distributed.run_orders import RunOrders

VERSION = 3
BARRIER, GO, FIRST = 0, 1, 2
"""Steps: all tell the root that they are there; the root tells all; the first layer of the first share."""
ROOT = 0
"""The worker that gathers the result."""

Collect = Literal["activations", "categories"]
Form = Literal["encoded", "light", "plain"]
"""How rows travel: `rows_in_flight.FORMS`."""


class Orders(RunOrders, frozen=True, kw_only=True):
    """`finals` are, by partition, the roles that compute rows of the last layer; `parts` a folder with a
    file for each partition and role, `checkpoints` a folder or a URL of an object store.

    Workers checkpoint when they come to a step of `lines`. No worker begins a share before those it sends
    to have come within `window` shares of it; 0 does not limit them. What is for a step of `relayed` goes
    through the root (`relay.py`).
    """

    layers: int
    samples: int
    outputs: int
    shares: tuple[Share, ...]
    finals: tuple[tuple[int, ...], ...]
    inputs: str
    parts: str
    checkpoints: str
    result: str
    lines: tuple[int, ...] = ()
    window: int = 0
    relayed: tuple[int, ...] = ()
    barrier: bool = False
    form: Form = "encoded"
    collect: Collect = "activations"
    version: int = VERSION

    @property
    def gather(self) -> int:
        """The step in which the root gets the others' results."""
        return FIRST + len(self.shares) * self.layers

    def step(self, share: int, layer: int) -> int:
        return FIRST + share * self.layers + layer

    def part(self, partition: int, role: int) -> Path:
        return Path(self.parts) / part_name(partition, role)

    def final_shares(self, worker: int) -> list[Share]:
        """The shares of which a worker computes rows of the result."""
        return [
            share
            for share in self.shares
            if worker in share.members and share.members.index(worker) in self.finals[share.partition]
        ]


def part_name(partition: int, role: int) -> str:
    return f"{partition}-{role}.part"


def lines_of(shares: tuple[Share, ...], layers: int, every_layers: int, window: int = 0) -> tuple[int, ...]:
    """The steps before which workers checkpoint, so that none of them loses more than about `every_layers`
    layers over all of its samples; 0 means never. A worker that goes through many shares does it between
    two of them, where it holds nothing; one with a single share within it. Under a window, it is what says
    how far a worker has come, so it is done twice in each."""
    found: set[int] = set()
    for members in {share.members for share in shares}:
        theirs = [number for number, share in enumerate(shares) if share.members == members]
        if len(theirs) > 1 and (every_layers or window):
            gaps = [max(1, len(theirs) * every_layers // layers)] if every_layers else []
            gap = min([*gaps, max(1, window // 2)] if window else gaps)
            found.update(FIRST + number * layers for number in theirs[gap::gap])
        elif len(theirs) == 1 and every_layers:
            first = FIRST + theirs[0] * layers
            found.update(range(first + every_layers, first + layers, every_layers))
    return tuple(sorted(found))


def lines_for(orders: Orders, worker: int) -> list[int]:
    """The lines that lie in shares of which a worker has a part, ascending."""
    return [line for line in orders.lines if worker in orders.shares[(line - FIRST) // orders.layers].members]


def write_orders(orders: Orders, path: Path) -> None:
    run_orders.write(orders, path)


def read_orders(path: Path) -> Orders:
    """Raises WeightsError for orders of another version, or that are none."""
    return run_orders.read(path, Orders, VERSION)
