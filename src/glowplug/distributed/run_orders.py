"""What workers of any kind of run are told of its messages, and how orders are written and read."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from glowplug.core.errors import WeightsError
from glowplug.distributed.channels.base import Address
from glowplug.distributed.faults import Faults


class RunOrders(msgspec.Struct, frozen=True, kw_only=True):
    """Who misses something asks for it after `stall_s` at first, then as the run's pace and the channel's
    limits say. `background` sends and receives beside computing; `keep` as in `RunOptions`. The later of two
    runs of one name has the later `generation`: to it the other's messages are of an epoch before. `version`
    is that of the orders' kind."""

    address: Address
    background: bool = True
    keep: bool | None = None
    stall_s: float = 1.0
    faults: Faults = Faults()
    generation: int = 0
    version: int

    @property
    def run(self) -> str:
        return self.address.run

    @property
    def workers(self) -> int:
        return self.address.workers


Told = TypeVar("Told", bound=RunOrders)


def write(orders: RunOrders, path: Path) -> None:
    path.write_bytes(msgspec.json.encode(orders))


def read(path: Path, kind: type[Told], version: int) -> Told:
    """Raises WeightsError for orders of another version, or that are none."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.MsgspecError as error:
        raise WeightsError(f"{path.name} are no orders that this worker understands: {error}") from error
    if found.version != version:
        raise WeightsError(
            f"orders of version {found.version}, and a worker of {version}: run one version of glowplug"
        )
    return found
