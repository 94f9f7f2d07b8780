"""Bytes of the weights in the words of their model: for messages."""

from __future__ import annotations

from collections.abc import Sequence

from glowplug.loader.format import Header, Layout, TensorEntry


def whereabouts(header: Header, unit: int, start: int, end: int) -> str:
    """A unit, and those of its tensors that lie, wholly or in part, at these bytes of the weights."""
    inside = [tensor.name or "-" for tensor in _between(header, start, end)]
    return f"unit {unit} (layers: {few(header.units[unit].layers)}; tensors: {few(inside)})"


def location(header: Header, number: int) -> str:
    """Where a tensor's storage lies."""
    storage = header.storages[header.tensors[number].storage]
    end = storage.offset + storage.nbytes
    unit = next((n for n, one in enumerate(header.units) if end <= one.end), len(header.units) - 1)
    return f"unit {unit}, bytes {storage.offset} to {end} of the weights"


def called(header: Header, number: int) -> str:
    """The name of a tensor, or where else it lies; "-" for one of which nobody knows."""
    places = (path for at, path in header.attributes if at == number)
    return header.tensors[number].name or next(places, "-")


def first_missing(header: Header, places: Layout, there_nbytes: int) -> str:
    """What a file of so many bytes lacks first."""
    if there_nbytes < places.prime_offset:
        return "its skeleton"
    if header.prime is not None and there_nbytes < places.prime_offset + header.prime.nbytes:
        return "its prime"
    at = max(0, there_nbytes - places.weights_offset)
    for number, unit in enumerate(header.units):
        for storage in header.storages:
            end = storage.offset + storage.nbytes
            if unit.offset <= storage.offset and at < end <= unit.end:
                start = max(at, storage.offset)
                return f"{whereabouts(header, number, start, start + 1)} at byte {start} of the weights"
    return "its timings"


def _between(header: Header, start: int, end: int) -> Sequence[TensorEntry]:
    storages = header.storages
    return [
        tensor
        for tensor in header.tensors
        if storages[tensor.storage].offset < end
        and storages[tensor.storage].offset + storages[tensor.storage].nbytes > start
    ]


def few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
