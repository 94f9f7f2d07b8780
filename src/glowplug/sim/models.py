"""Models as devices see them: bytes, loads and runs, from a table.

The table that comes along is after Zhao et al., "GPU-enabled Function-as-a-Service for Machine Learning
Inference" (arXiv 2303.05601), recalled and not read again: 22 CNNs on a GPU of 8 GB, where a request is one
inference at batch 32.
"""

from __future__ import annotations

import csv
from importlib.resources import files
from math import isfinite
from pathlib import Path

import msgspec

from glowplug.core.errors import InvalidWorkload

BUILTIN = "builtin"
_NAMES = {"resident_mb": "device_mb", "infer_batch32_s": "run_s"}
"""The builtin table's own words, and what they mean here: one request there is a batch of images."""
_BATCH = "batch_"
MAX_S, _MAX_MB = 1e6, 1e9
"""Eleven days and a petabyte: what looks longer or larger was written in another unit."""


class ModelProfile(msgspec.Struct, frozen=True):
    """`device_bytes` is all that it takes of a device, `load_s` a load from the disk, `run_s` one request,
    `batch_s` several requests run as one, by their number. `copy_s` is a load from the node's memory; 0 where
    it was not measured."""

    name: str
    device_bytes: int
    load_s: float
    run_s: float
    copy_s: float = 0.0
    batch_s: dict[int, float] = {}


def read_models(source: str = BUILTIN) -> tuple[ModelProfile, ...]:
    """The rows of a table: `builtin`, or a CSV file with the columns `model,device_mb,load_s,run_s` and,
    where they were measured, `copy_s` and `batch_N_s` for batches of N requests.

    Raises InvalidWorkload naming the file, the line and what is wrong there.
    """
    if source == BUILTIN:
        text = (files("glowplug.sim") / "data" / "gpu_faas_profiles.csv").read_text(encoding="utf-8")
    else:
        try:
            text = Path(source).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidWorkload(f"profiles: cannot read {source}: {error}") from error
    reader = csv.reader(text.splitlines())
    header = [_NAMES.get(name.strip(), name.strip()) for name in next(reader, [])]
    missing = [name for name in ("model", "device_mb", "load_s", "run_s") if name not in header]
    if missing:
        raise InvalidWorkload(f"{source}, line 1: columns {', '.join(missing)} not found")
    found = [_model(source, reader.line_num, header, cells) for cells in reader if cells]
    if not found:
        raise InvalidWorkload(f"{source}: no model in it")
    return tuple(found)


def _model(source: str, line: int, header: list[str], cells: list[str]) -> ModelProfile:
    if len(cells) != len(header):
        raise InvalidWorkload(f"{source}, line {line}: {len(header)} columns expected, found {len(cells)}")
    row = dict(zip(header, (cell.strip() for cell in cells), strict=True))

    def number(column: str, *, may_be_nought: bool = False) -> float:
        try:
            value = float(row[column])
        except ValueError:
            value = float("nan")
        if not isfinite(value) or value < 0 or (value == 0 and not may_be_nought):
            raise InvalidWorkload(
                f"{source}, line {line}, column {column}: a positive number expected, found {row[column]!r}"
            )
        most = _MAX_MB if column == "device_mb" else MAX_S
        if value > most:
            raise InvalidWorkload(
                f"{source}, line {line}, column {column}: {row[column]} is more than {most:.0e}: is it in "
                + ("megabytes?" if column == "device_mb" else "seconds?")
            )
        return value

    batches = [name for name in header if name.startswith(_BATCH) and name.endswith("_s")]
    sizes = {}
    for name in batches:
        size = name.removeprefix(_BATCH).removesuffix("_s")
        if not size.isdecimal():
            raise InvalidWorkload(f"{source}, line 1: column {name}: write batch_8_s for batches of 8")
        if row[name]:
            sizes[int(size)] = number(name)
    return ModelProfile(
        name=row["model"],
        device_bytes=int(number("device_mb") * 10**6),
        load_s=number("load_s", may_be_nought=True),
        run_s=number("run_s"),
        copy_s=number("copy_s") if row.get("copy_s") else 0.0,
        batch_s=sizes,
    )
