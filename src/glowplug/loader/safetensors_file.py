"""A safetensors file from any source: its header is all that is read here."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from glowplug.loader.errors import WeightsUnreadable
from glowplug.loader.format import Header, Size, StorageEntry, TensorEntry
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


class _Entry(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[Size, ...]
    data_offsets: tuple[Size, Size]


def read_safetensors(
    read: Callable[[int, int], bytes], size: int, header_nbytes: int, name: str
) -> tuple[Header, int]:
    """(what it holds, where its weights begin), by `read(offset, nbytes)`. Raises WeightsUnreadable, and
    what `read` raises.
    """
    weights_offset = _LENGTH_BYTES + header_nbytes
    text = read(_LENGTH_BYTES, header_nbytes)
    try:
        listed = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        listed.pop("__metadata__", None)
        read_entry = msgspec.json.Decoder(_Entry).decode
        entries = sorted(
            ((key, read_entry(raw)) for key, raw in listed.items()), key=lambda item: item[1].data_offsets
        )
        tensors = [_tensor(number, *entry) for number, entry in enumerate(entries)]
        storages = [_storage(key, entry, size - weights_offset) for key, entry in entries]
    except (ValueError, RecursionError) as error:
        raise WeightsUnreadable(
            f"{name} is truncated or no safetensors file ({error}); download or save it again"
        ) from error
    return plain_header(tensors, storages, weights_offset, name), weights_offset


def _tensor(number: int, name: str, entry: _Entry) -> TensorEntry:
    if entry.dtype not in _DTYPES:
        raise ValueError(f"tensor {name} is of {entry.dtype}, which is none of {', '.join(_DTYPES)}")
    dtype, element_nbytes = _DTYPES[entry.dtype]
    made = TensorEntry(name, dtype, entry.shape, number, 0, None, True, False)
    start, end = entry.data_offsets
    if made.numel * element_nbytes != end - start:
        raise ValueError(f"tensor {name} of {dtype}{list(made.shape)} has {end - start} bytes")
    return made


def _storage(name: str, entry: _Entry, available_nbytes: int) -> StorageEntry:
    start, end = entry.data_offsets
    if not start <= end <= available_nbytes:
        raise ValueError(
            f"tensor {name} ends at byte {end} of the weights, of which there are {available_nbytes}"
        )
    return StorageEntry(start, end - start)
