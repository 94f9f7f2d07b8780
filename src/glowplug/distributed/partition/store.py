"""Partitions in a folder: what was cut once for a network and its settings is read the next time."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import xxhash

from glowplug.distributed.network import Network
from glowplug.distributed.partition.result import Partition, Settings

_VERSION = 1  # of the file and of what cuts: another number, another name


def kept() -> Path:
    """Where a user's partitions are kept, unless it is said."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glowplug" / "partitions"


def file_name(network: Network, method: str, settings: Settings) -> str:
    told = f"{_VERSION} {network.digest} {method} {settings!r}"
    return f"partition-{xxhash.xxh3_128_hexdigest(told.encode())}.npz"


def read(path: Path) -> Partition | None:
    """None where there is no such file, or one that was damaged: it is cut anew then."""
    try:
        with np.load(path) as file:
            ends = np.cumsum(file["rows"])[:-1]
            return Partition(
                int(file["workers"]), file["inputs"], tuple(np.split(file["owners"], ends)),
                tuple(file["rows_sent"].tolist()), str(file["method"]),
            )  # fmt: skip
    except (FileNotFoundError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return None


def write(path: Path, partition: Partition) -> None:
    """All of it or nothing: readers beside never see a part of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            np.savez_compressed(
                file, workers=partition.workers, inputs=partition.inputs, method=partition.method,
                owners=np.concatenate(partition.owners), rows=[len(owner) for owner in partition.owners],
                rows_sent=partition.rows_sent,
            )  # fmt: skip
            file.flush()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink()
            raise
