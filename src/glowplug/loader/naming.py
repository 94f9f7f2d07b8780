"""Bytes of the weights in the words of their model: for messages."""

from __future__ import annotations

from collections.abc import Sequence

from glowplug.loader.format import Header, TensorEntry


def whereabouts(header: Header, unit: int, start: int, end: int) -> str:
    """A unit, and those of its tensors that lie, wholly or in part, at these bytes of the weights."""
    inside = [tensor.name or "-" for tensor in _between(header, start, end)]
    return f"unit {unit} (layers: {few(header.units[unit].layers)}; tensors: {few(inside)})"


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
