"""A safetensors file from any source: its header is all that is read here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from glowplug.loader.errors import WeightsUnreadable
from glowplug.loader.format import Header, StorageEntry, TensorEntry
from glowplug.loader.plain import plain_header

_DTYPES = {
    "F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
    "I64": ("int64", 8), "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1), "U8": ("uint8", 1),
    "BOOL": ("bool", 1), "F8_E4M3": ("float8_e4m3fn", 1), "F8_E5M2": ("float8_e5m2", 1),
    "C64": ("complex64", 8), "U16": ("uint16", 2), "U32": ("uint32", 4), "U64": ("uint64", 8),
}  # fmt: skip
"""Torch's name of each, and the bytes of an element."""
_LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100 * 10**6


def read_safetensors(
    read: Callable[[int, int], bytes], size: int, header_nbytes: int, name: str
) -> tuple[Header, int]:
    """(what it holds, where its weights begin), by `read(offset, nbytes)`. Raises WeightsUnreadable, and
    what `read` raises.
    """
    weights_offset = _LENGTH_BYTES + header_nbytes
    text = read(_LENGTH_BYTES, header_nbytes)
    try:
        listed: dict[str, Any] = json.loads(text)
        listed.pop("__metadata__", None)
        entries = sorted(listed.items(), key=lambda item: item[1]["data_offsets"])
        tensors = [_tensor(number, *entry) for number, entry in enumerate(entries)]
        storages = [_storage(tensor, entry, size - weights_offset) for tensor, entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsUnreadable(
            f"{name} is truncated or no safetensors file ({error}); download or save it again"
        ) from error
    return plain_header(tensors, storages), weights_offset


def _tensor(number: int, name: str, entry: dict[str, Any]) -> TensorEntry:
    dtype, element_nbytes = _DTYPES[entry["dtype"]]
    made = TensorEntry(name, dtype, tuple(entry["shape"]), number, 0, None, True, False)
    start, end = entry["data_offsets"]
    if any(size < 0 for size in made.shape) or made.numel * element_nbytes != end - start:
        raise ValueError(f"tensor {name} of {dtype}{list(made.shape)} has {end - start} bytes")
    return made


def _storage(name: str, entry: dict[str, Any], available_nbytes: int) -> StorageEntry:
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= available_nbytes:
        raise ValueError(f"tensor {name} reaches past the end")
    return StorageEntry(start, end - start)
