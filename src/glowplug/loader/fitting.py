"""Which tensor of a file goes where in a model that was just built."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from glowplug.loader.attributes import Place, place
from glowplug.loader.errors import PackCorrupt, WeightsMismatch
from glowplug.loader.format import Header, TensorEntry
from glowplug.loader.naming import called, location
from glowplug.loader.roots import held_tensors, join, tensor_names
from glowplug.loader.sharing import copies, give, held_elsewhere, overlapping, sharing
from glowplug.loader.tensors import row_major
from glowplug.loader.weights import PARALLEL_PREFIX

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module


class Slot(NamedTuple):
    """One place in a model where a tensor goes: an entry of a module's parameters or buffers."""

    module: Module
    name: str
    parameter: bool

    def put(self, tensor: Tensor) -> None:
        self.module.__dict__["_parameters" if self.parameter else "_buffers"][self.name] = tensor


class Fit(NamedTuple):
    """For each tensor of the file: the model's own tensor, every parameter or buffer that is it, and what of
    the attributes has it by what the pack says.

    `shared` are the ids of those whose memory something else uses too, `overlapping` by id the others
    that have some of its memory, `others` what the model has and the file has not: each tensor and its
    places."""

    own: list[Any]
    slots: list[list[Slot]]
    attributes: list[list[Place]]
    shared: set[int]
    overlapping: dict[int, list[int]]
    others: list[tuple[Any, list[Slot]]]

    def assign(self, number: int, value: Tensor) -> None:
        """The model's own tensor becomes this one: the same object for all that hold it, if that can be, with
        its own requires_grad."""
        own = self.own[number]
        places: tuple[Slot | Place, ...] = (*self.slots[number], *self.attributes[number])
        _become(own, value, places, shared=id(own) in self.shared)

    def copies(self, number: int, value: Tensor) -> bool:
        """Whether `assign` reads the bytes of this value, so that they have to be there."""
        own = self.own[number]
        return copies(own, value, shared=id(own) in self.shared)

    def move_others(self, place: torch.device) -> None:
        """What the file has not goes to where the weights go, as `Module.to` has it."""
        for own, slots in self.others:
            if own.device != place and not own.is_meta:
                _become(own, own.detach().to(place), slots, shared=False)

    def exposed(self) -> list[int]:
        """The numbers of those that something else than a module's parameters and buffers holds, or that
        share their memory with something: who uses them cannot be made to wait."""
        elsewhere = held_elsewhere(self.own, [len(places) for places in self.slots])
        return sorted({*elsewhere, *(n for n, own in enumerate(self.own) if id(own) in self.shared)})


def _become(own: Tensor, value: Tensor, places: Sequence[Slot | Place], *, shared: bool) -> None:
    import torch

    if not give(own, value, shared=shared):
        made = torch.nn.Parameter(value, own.requires_grad) if places[0].parameter else value
        for place in places:  # tied tensors stay one tensor
            place.put(made)


def fit(model: Module, header: Header, source: str) -> Fit:
    """Finds the place of every tensor, all of them before anything is changed: then room is made for those
    that the module has nothing for where an attribute may be. Tied tensors share a slot list.

    Raises WeightsMismatch with a line per problem, and PackCorrupt for an entry of which there is no tensor.
    """
    import torch

    names = tensor_names(model)
    expected: dict[str, Tensor] = {}
    slots: defaultdict[int, list[Slot]] = defaultdict(list)
    aliases: dict[str, int] = {}
    paths: defaultdict[int, list[str]] = defaultdict(list)
    for path, module in model.named_modules(remove_duplicate=False):
        paths[id(module)].append(path)
    for module, name, tensor in held_tensors(model):
        expected.setdefault(names[id(tensor)], tensor)
        aliases.update((join(path, name), id(tensor)) for path in paths[id(module)])
        slots[id(tensor)].append(Slot(module, name, isinstance(tensor, torch.nn.Parameter)))

    by_id = {id(tensor): tensor for tensor in expected.values()}
    problems: list[str] = []
    own: list[Any] = []
    parallel = _from_parallel([entry.name for entry in header.tensors], aliases)
    for at, entry in enumerate(header.tensors):
        name = entry.name.removeprefix(PARALLEL_PREFIX) if parallel else entry.name
        number = aliases.get(name) if name else None
        if entry.name and number is None:
            problems.append(
                f"{entry.name}: unexpected; the file has {_shown(header, at)}, the module nothing of this "
                "name"
            )
        target = by_id[number] if number is not None else None
        if target is not None:
            problems += _misfits(entry.name, target, header, at)
        own.append(target)
    places = _places(model, header, own, problems)
    found = {id(tensor) for tensor in own}
    needed = {id(tensor) for tensor in model.state_dict(keep_vars=True).values()}
    problems += [
        f"{name}: missing; the module has {str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
        for name, tensor in expected.items()
        if id(tensor) in needed - found and not name.endswith("num_batches_tracked")
    ]
    if problems:
        raise WeightsMismatch(source, problems)
    for number, inside in enumerate(places):
        if own[number] is None:
            try:
                own[number] = _room(header.tensors[number])
            except (AttributeError, RuntimeError, TypeError) as error:
                where = f"tensor {called(header, number)!r} ({location(header, number)})"
                raise PackCorrupt(f"{source}: {where} cannot be made: {error}") from error
        for one in inside:
            try:
                if one.value is not own[number]:
                    one.put(own[number])
            except Exception as error:  # what holds it may be of anybody's class
                why = f"{called(header, number)}: the module has no place for it ({error})"
                line = _unplaced(header, number, why)
                raise WeightsMismatch(source, [line]) from error
    return Fit(
        own,
        [slots[id(tensor)] for tensor in own],
        places,
        sharing([*expected.values(), *own]),
        overlapping(own),
        [(tensor, slots[id(tensor)]) for tensor in expected.values() if id(tensor) not in found],
    )


def _places(model: Module, header: Header, own: list[Any], problems: list[str]) -> list[list[Place]]:
    """The attributes that each tensor of the pack is in the model too. Of those that have no name `own` is
    found there; None stays where there is nothing, or what is another one already, or on its memory."""
    import torch

    places: list[list[Place]] = [[] for _ in header.tensors]
    lost: dict[int, str] = {}
    for number, path in header.attributes:
        try:
            places[number].append(place(model, path, header.tensors[number].parameter))
        except LookupError as error:
            lost.setdefault(
                number, _unplaced(header, number, f"{path}: the module has no place for it ({error})")
            )
    taken = {id(tensor) for tensor in own}
    for number, entry in enumerate(header.tensors):
        if entry.name:
            continue
        if number in lost or not places[number]:
            unknown = "a tensor without a name: it is not known where in a module it belongs"
            problems.append(lost.get(number) or _unplaced(header, number, unknown))
            continue
        value = places[number][0].value
        if isinstance(value, torch.Tensor) and value.layout == torch.strided and id(value) not in taken:
            taken.add(id(value))
            own[number] = value
            problems += _misfits(called(header, number), value, header, number)
    for number in _wrongly_together(header, own):
        own[number] = None
    for number, inside in enumerate(places):
        if any(isinstance(one.holder, tuple) and one.value is not own[number] for one in inside):
            why = "it would be another one in a tuple of the module"
            problems.append(f"{called(header, number)}: {why}: load it without build=")
    return places


def _wrongly_together(header: Header, own: Sequence[Any]) -> list[int]:
    """Those without a name that have memory in common in the model with what they have none with in the file:
    `spectral_norm` begins like that."""
    storages = {id(tensor): header.tensors[number].storage for number, tensor in enumerate(own)}
    others = overlapping(tensor for tensor in own if tensor is not None)
    return [
        number
        for number, entry in enumerate(header.tensors)
        if not entry.name and any(storages[one] != entry.storage for one in others.get(id(own[number]), ()))
    ]


def _room(entry: TensorEntry) -> Tensor:
    """Of such a tensor, whose value is still to come."""
    import torch

    strides = entry.stride or row_major(entry.shape)
    tensor = torch.empty_strided(entry.shape, strides, dtype=getattr(torch, entry.dtype), device="cpu")
    if entry.parameter:
        return torch.nn.Parameter(tensor, entry.requires_grad)
    return tensor.requires_grad_(entry.requires_grad)


def _misfits(name: str, target: Tensor, header: Header, number: int) -> list[str]:
    entry, dtype = header.tensors[number], str(target.dtype).removeprefix("torch.")
    if tuple(target.shape) == tuple(entry.shape) and dtype == entry.dtype:
        return []
    return [f"{name}: the module has {dtype}{list(target.shape)}, the file {_shown(header, number)}"]


def _from_parallel(given: Sequence[str], expected: Container[str]) -> bool:
    """Whether the names are those of a module that was trained on several devices."""
    return bool(given) and all(name.startswith(PARALLEL_PREFIX) and name not in expected for name in given)


def _unplaced(header: Header, number: int, why: str) -> str:
    return f"{why}; the file has {_shown(header, number)}: load it without build="


def _shown(header: Header, number: int) -> str:
    entry = header.tensors[number]
    return f"{entry.dtype}{list(entry.shape)} ({location(header, number)})"
