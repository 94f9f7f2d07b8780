"""A partition by the name of its method, made once and kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Network
from glowplug.distributed.partition import store
from glowplug.distributed.partition.baselines import block, random
from glowplug.distributed.partition.layered import layered
from glowplug.distributed.partition.result import Partition, Settings
from glowplug.distributed.partition.whole import whole

IMBALANCE = 0.03
METHODS: dict[str, Callable[[Network, Settings], Partition]] = {
    "layered": layered,
    "whole": whole,
    "random": random,
    "block": block,
}


def partition(
    network: Network,
    workers: int,
    method: str = "layered",
    imbalance: float = IMBALANCE,
    seed: int = 0,
    folder: Path | None = None,
) -> Partition:
    """Equal arguments give equal owners; the seed is for `random`. With a folder it is read from there, or
    made and put there.

    Raises InvalidArguments for a method that does not exist and for more workers than a layer has rows. The
    methods `layered` and `whole` need mtkahypar and numba, and take seconds to minutes.
    """
    if method not in METHODS:
        raise InvalidArguments(f"no method {method}: there are {', '.join(METHODS)}", "method")
    settings = Settings(workers, imbalance, seed)
    path = folder and folder / store.file_name(network, method, settings)
    found = store.read(path) if path else None
    if found is None:
        found = METHODS[method](network, settings)
        if path:
            store.write(path, found)
    return found
