"""Files that hold tensors by name and nothing else, seen as a pack's header: no object, no order of
execution, no checksums.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from glowplug.loader.errors import WeightsUnreadable
from glowplug.loader.format import Header, Section, StorageEntry, TensorEntry, UnitEntry, checksums_nbytes
from glowplug.loader.tensors import UNIT_BYTES

_NOTHING = Section(0, b"")


def plain_header(
    tensors: Sequence[TensorEntry], storages: Sequence[StorageEntry], weights_offset: int, file: str
) -> Header:
    """`storages` in the order of the file; what lies between two of them belongs to a unit too. Raises
    WeightsUnreadable when two share bytes: a unit would end before all of its tensors do."""
    _refuse_overlap(tensors, storages, weights_offset, file)
    nbytes = max((storage.offset + storage.nbytes for storage in storages), default=0)
    return Header(tuple(tensors), tuple(storages), _units(tensors, storages), nbytes, _NOTHING, None)


def _refuse_overlap(
    tensors: Sequence[TensorEntry], storages: Sequence[StorageEntry], weights_offset: int, file: str
) -> None:
    filled = [number for number, storage in enumerate(storages) if storage.nbytes]
    for one, other in itertools.pairwise(filled):
        if storages[one].offset + storages[one].nbytes > storages[other].offset:
            first, second = (
                _whereabouts(tensors, number, storages, weights_offset) for number in (one, other)
            )
            raise WeightsUnreadable(f"{file}: {first} and {second} overlap; download or save it again")


def _whereabouts(
    tensors: Sequence[TensorEntry], number: int, storages: Sequence[StorageEntry], weights_offset: int
) -> str:
    names = ", ".join(tensor.name for tensor in tensors if tensor.storage == number)
    start = weights_offset + storages[number].offset
    return f"tensor {names} (bytes {start} to {start + storages[number].nbytes})"


def _units(tensors: Sequence[TensorEntry], storages: Sequence[StorageEntry]) -> tuple[UnitEntry, ...]:
    """Whole layers as the file lists them: a layer is what comes before a name's last dot."""
    layer_of: dict[int, str] = {}
    for tensor in tensors:
        layer_of.setdefault(tensor.storage, tensor.name.rpartition(".")[0])
    units: list[UnitEntry] = []
    layers: list[str] = []
    start = end = 0
    for layer, members in itertools.groupby(enumerate(storages), lambda pair: layer_of.get(pair[0], "")):
        layers.append(layer)
        end = max(end, *(storage.offset + storage.nbytes for _, storage in members))
        if end - start >= UNIT_BYTES:
            units.append(_unit(layers, start, end))
            start, layers = end, []
    if layers:
        units.append(_unit(layers, start, end))
    return tuple(units)


def _unit(layers: Sequence[str], start: int, end: int) -> UnitEntry:
    return UnitEntry(tuple(layers), start, end - start, b"", bytes(checksums_nbytes(end - start)))
