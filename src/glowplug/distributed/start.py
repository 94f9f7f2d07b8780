"""The start message of a worker. Importing it is cheap: a worker launches others before it imports anything
large."""

from __future__ import annotations

from typing import Literal

import msgspec

Work = Literal["network", "torch"]
"""What kind of orders there are: those of a sparse network (`orders.py`), or of a torch model
(`torch_orders.py`)."""


class Place(msgspec.Struct, frozen=True):
    """Who speaks: the `incarnation`-th process of a worker within an epoch of a run."""

    run: str
    worker: int
    epoch: int = 0
    incarnation: int = 0


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The start message of one worker. `line` is where its epoch began; `launches` are the workers that it
    has the platform start before anything else. `deadline_s` is what is left of the run's time."""

    orders: str
    place: Place
    line: int = 0
    launches: tuple[int, ...] = ()
    deadline_s: float
    memory_bytes: int = 0
    work: Work = "network"
