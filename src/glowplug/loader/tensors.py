"""Tensors as memory: which bytes each covers, where they go in a pack, and views on them again."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from glowplug.loader.errors import NotPicklable, PackCorrupt
from glowplug.loader.format import (
    HASH_BYTES,
    PAGE_BYTES,
    TENSOR_ALIGN_BYTES,
    Header,
    StorageEntry,
    TensorEntry,
    UnitEntry,
    align,
    checksums_nbytes,
)  # fmt: skip
from glowplug.loader.naming import location

if TYPE_CHECKING:
    import torch
    from torch import Tensor

UNIT_BYTES = 2**20
"""The layer that brings a unit to this size is its last: smaller units cost more reads than they overlap."""
_WIDEST_ELEMENT_BYTES = 16


class Run(NamedTuple):
    """Memory of this process that becomes one storage. `pad_bytes` before it keep its views aligned."""

    address: int
    nbytes: int
    pad_bytes: int

    def memory(self) -> memoryview:
        """The bytes themselves, not a copy: valid while the tensors live."""
        if not self.nbytes:
            return memoryview(b"")
        return memoryview((ctypes.c_char * self.nbytes).from_address(self.address)).cast("B")


class Plan(NamedTuple):
    """`runs[i]` fills `storages[i]`; the hashes in `units` are still zeros."""

    tensors: tuple[TensorEntry, ...]
    storages: tuple[StorageEntry, ...]
    units: tuple[UnitEntry, ...]
    runs: tuple[Run, ...]
    weights_nbytes: int


def plan(tensors: Sequence[Tensor], order: Sequence[Tensor] | None, names: Mapping[int, str]) -> Plan:
    """Lays `tensors` out: those of `order` first, in that order, then the others.

    `names` gives id(tensor) -> dotted name; what comes before the last dot is the tensor's layer, and
    a unit begins only where a layer does. Tensors that overlap in memory share a storage.
    """
    rank = {id(tensor): place for place, tensor in reversed(list(enumerate(order or ())))}
    runs, members = runs_of(tensors)
    firsts = [min((rank.get(id(tensors[t]), len(rank)), t) for t in inside) for inside in members]
    sequence = sorted(range(len(runs)), key=lambda run: firsts[run])

    offset = 0
    storages: list[StorageEntry] = []
    units: list[UnitEntry] = []
    storage_of: dict[int, tuple[int, int]] = {}
    unit_start = 0
    layers: dict[str, None] = {}
    for position, run in enumerate(sequence):
        layer = names.get(id(tensors[firsts[run][1]]), "").rpartition(".")[0]
        if layer not in layers and offset - unit_start >= UNIT_BYTES:
            units.append(_unit(layers, unit_start, offset))
            offset = unit_start = align(offset, PAGE_BYTES)
            layers.clear()
        layers[layer] = None
        offset = align(offset, TENSOR_ALIGN_BYTES)
        storages.append(StorageEntry(offset, runs[run].pad_bytes + runs[run].nbytes))
        offset += storages[-1].nbytes
        storage_of.update(dict.fromkeys(members[run], (position, run)))
    if layers:
        units.append(_unit(layers, unit_start, offset))
    entries = tuple(
        _entry(tensor, names.get(id(tensor), ""), storage_of[t][0], runs[storage_of[t][1]])
        for t, tensor in enumerate(tensors)
    )
    return Plan(entries, tuple(storages), tuple(units), tuple(runs[run] for run in sequence), offset)


def _unit(layers: Iterable[str], start: int, end: int) -> UnitEntry:
    """An entry of its final size, whose hash and checksums are not known yet."""
    return UnitEntry(
        tuple(layers), start, end - start, bytes(HASH_BYTES), bytes(checksums_nbytes(end - start))
    )


def _extent(tensor: Tensor) -> tuple[int, int]:
    if tensor.numel() == 0:
        return 0, 0
    span = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
    return tensor.data_ptr(), span * tensor.element_size()


def runs_of(tensors: Sequence[Tensor]) -> tuple[list[Run], list[list[int]]]:
    """Merges what overlaps; returns the runs, and for each the numbers of its tensors."""
    extents = [_extent(tensor) for tensor in tensors]
    bounds: list[list[int]] = []
    members: list[list[int]] = []
    for t in sorted(range(len(tensors)), key=lambda t: extents[t]):
        address, nbytes = extents[t]
        if nbytes and bounds and address < bounds[-1][1]:
            bounds[-1][1] = max(bounds[-1][1], address + nbytes)
            members[-1].append(t)
        else:
            bounds.append([address, address + nbytes])
            members.append([t])
    runs = []
    for (start, end), inside in zip(bounds, members, strict=True):
        views = [(extents[t][0] - start, tensors[t].element_size()) for t in inside if extents[t][1]]
        pad = next(
            (p for p in range(_WIDEST_ELEMENT_BYTES) if all((at + p) % size == 0 for at, size in views)), None
        )
        if pad is None:
            raise NotPicklable(
                "views of one storage, of dtypes of different sizes, lie unaligned to each other"
            )
        runs.append(Run(start, end - start, pad))
    return runs, members


def _entry(tensor: Tensor, name: str, storage: int, run: Run) -> TensorEntry:
    import torch

    start = 0
    if tensor.numel():
        start = (tensor.data_ptr() - run.address + run.pad_bytes) // tensor.element_size()
    return TensorEntry(
        name=name,
        dtype=str(tensor.dtype).removeprefix("torch."),
        shape=tuple(tensor.shape),
        storage=storage,
        start=start,
        stride=None if tuple(tensor.stride()) == row_major(tensor.shape) else tuple(tensor.stride()),
        parameter=isinstance(tensor, torch.nn.Parameter),
        requires_grad=tensor.requires_grad,
    )


def views(
    header: Header, weights: memoryview | Tensor | None, path: str, place: torch.device | None = None
) -> list[Tensor]:
    """One tensor per entry, over `weights`, which they keep alive: memory of this process, or a flat uint8
    tensor on a device; None where there are no bytes. Tensors without any are made at `place`: None is the
    host.

    Raises PackCorrupt for an entry that does not fit its storage.
    """
    import torch

    def flat(dtype: torch.dtype, count: int, offset: int) -> Tensor:
        if isinstance(weights, torch.Tensor):
            return weights[offset : offset + count * dtype.itemsize].view(dtype)
        return torch.frombuffer(weights, dtype=dtype, count=count, offset=offset)

    if isinstance(weights, torch.Tensor):
        place = weights.device
    shared = shared_storages(header)
    bases: dict[int, Tensor] = {}
    made: list[Tensor] = []
    for number, entry in enumerate(header.tensors):
        storage = header.storages[entry.storage]
        try:
            dtype: torch.dtype = getattr(torch, entry.dtype)
            count = entry.numel
            if count and weights is None:
                raise ValueError("there are no weights")
            if count == 0:
                strides = entry.stride or row_major(entry.shape)
                tensor = torch.empty_strided(entry.shape, strides, dtype=dtype, device=place or "cpu")
            elif entry.stride is None and entry.storage not in shared:
                if (entry.start + count) * dtype.itemsize > storage.nbytes:
                    raise ValueError(f"it reaches past its storage of {storage.nbytes} bytes")
                tensor = flat(dtype, count, storage.offset + entry.start * dtype.itemsize)
                if len(entry.shape) != 1:
                    tensor = tensor.view(entry.shape)
            else:
                if entry.storage not in bases:
                    bases[entry.storage] = flat(torch.uint8, storage.nbytes, storage.offset)
                whole = storage.nbytes // dtype.itemsize * dtype.itemsize
                typed = bases[entry.storage][:whole].view(dtype)
                strides = entry.stride or row_major(entry.shape)
                last = sum((size - 1) * step for size, step in zip(entry.shape, strides, strict=True))
                if (entry.start + last) * dtype.itemsize >= whole:
                    raise ValueError(f"it reaches past its storage of {storage.nbytes} bytes")
                tensor = typed.as_strided(entry.shape, strides, typed.storage_offset() + entry.start)
            if entry.parameter:
                tensor = torch.nn.Parameter(tensor, entry.requires_grad)
            elif entry.requires_grad:
                tensor.requires_grad_()
        except (AttributeError, RuntimeError, ValueError, TypeError) as error:
            where = f"tensor {entry.name!r} ({location(header, number)})"
            raise PackCorrupt(f"{path}: {where} cannot be mapped: {error}") from error
        made.append(tensor)
    return made


def shared_storages(header: Header) -> set[int]:
    """Those that several tensors lie in."""
    users = Counter(entry.storage for entry in header.tensors)
    return {storage for storage, count in users.items() if count > 1}


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= max(size, 1)
    return tuple(strides)
