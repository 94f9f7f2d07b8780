"""The object of a pack around tensors whose bytes may still be on their way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from glowplug.loader import skeleton
from glowplug.loader.errors import LoaderError
from glowplug.loader.format import Header
from glowplug.loader.gates import Gates
from glowplug.loader.roots import held_tensors, modules_of, shared_modules
from glowplug.loader.sharing import held_elsewhere

if TYPE_CHECKING:
    from torch import Tensor


def rebuild(
    graph: bytes,
    header: Header,
    tensors: Sequence[Tensor],
    name: str,
    gates: Gates,
    only: Sequence[str] | None,
    demand: Callable[[], object],
) -> tuple[object, list[int]]:
    """(the object, guarded by `gates`, the units with what no gate can guard: wait for these before it is
    handed out). `demand` returns when every weight is there for this thread to compute with, as what
    rebuilds the object may.

    Raises as `skeleton.load`, and what `demand` raises.
    """
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            demand()
        except BaseException as error:
            failed.append(error)
            raise

    with skeleton.waiting(wait):
        try:
            obj = skeleton.load(graph, tensors, name, only)
        except LoaderError as error:
            if failed:  # its classes are not to blame
                raise failed[0] from error
            raise
    inside = tensors_by_unit(header)
    unit_of = {id(tensors[number]): unit for unit, numbers in enumerate(inside) for number in numbers}
    exposed = {*header.exposed, *_miscounted(obj, tensors)}
    gates.install(modules_of(obj), unit_of)
    return obj, list(dict.fromkeys(unit_of[id(tensors[number])] for number in sorted(exposed)))


def _miscounted(obj: object, tensors: Sequence[Tensor]) -> list[int]:
    """Packs of an earlier version took a module that is named twice for two, and one other place that holds
    its tensor for the second: such places are looked for here."""
    suspected = {
        id(tensor)
        for module in shared_modules(obj)
        for held in (module._parameters, module._buffers)
        for tensor in held.values()
    }
    if not suspected:
        return []
    held = Counter(id(tensor) for _, _, tensor in held_tensors(obj))
    places = [held[id(tensor)] for tensor in tensors]
    return [n for n in held_elsewhere(tensors, places) if id(tensors[n]) in suspected]


def tensors_by_unit(header: Header) -> list[list[int]]:
    """The numbers of the tensors in each unit. Storages and units are both in the order of the file."""
    storage_units, unit = [], 0
    for storage in header.storages:
        while unit + 1 < len(header.units) and storage.offset >= header.units[unit].end:
            unit += 1
        storage_units.append(unit)
    inside: list[list[int]] = [[] for _ in header.units]
    if inside:
        for number, tensor in enumerate(header.tensors):
            inside[storage_units[tensor.storage]].append(number)
    return inside
