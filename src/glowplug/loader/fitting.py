"""Which tensor of a file goes where in a model that was just built."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from glowplug.loader.errors import WeightsMismatch
from glowplug.loader.format import Header
from glowplug.loader.naming import location
from glowplug.loader.roots import held_tensors, tensor_names
from glowplug.loader.sharing import REPEATED, give, held_elsewhere, overlapping, repeats, sharing
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
    """For each tensor of the file: the model's own tensor and every place that holds it; None and none for
    what the build makes by itself (a plain attribute, or a value that no name leads to).

    `shared` are the ids of those whose memory something else uses too, `overlapping` by id the others
    that have some of its memory, `others` what the model has and the file has not: each tensor and its
    places."""

    own: list[Any]
    slots: list[list[Slot]]
    shared: set[int]
    overlapping: dict[int, list[int]]
    others: list[tuple[Any, list[Slot]]]

    def assign(self, number: int, value: Tensor) -> None:
        """The model's own tensor becomes this one: the same object for all that hold it, if that can be, with
        its own requires_grad."""
        own = self.own[number]
        _become(own, value, self.slots[number], shared=id(own) in self.shared)

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


def _become(own: Tensor, value: Tensor, slots: Sequence[Slot], *, shared: bool) -> None:
    import torch

    if not give(own, value, shared=shared):
        made = torch.nn.Parameter(value, own.requires_grad) if slots[0].parameter else value
        for slot in slots:  # tied tensors stay one tensor
            slot.put(made)


def fit(model: Module, header: Header, source: str) -> Fit:
    """Finds the place of every tensor, all of them before anything is changed. Tied tensors share a slot
    list.

    Raises WeightsMismatch with a line per problem.
    """
    import torch

    names = tensor_names(model)
    expected: dict[str, Tensor] = {}
    slots: defaultdict[int, list[Slot]] = defaultdict(list)
    aliases: dict[str, int] = {}
    paths = {id(module): path for path, module in model.named_modules()}
    for module, name, tensor in held_tensors(model):
        expected.setdefault(names[id(tensor)], tensor)
        path = paths[id(module)]
        aliases[f"{path}.{name}" if path else name] = id(tensor)
        slots[id(tensor)].append(Slot(module, name, isinstance(tensor, torch.nn.Parameter)))

    by_id = {id(tensor): tensor for tensor in expected.values()}
    problems: list[str] = []
    found: set[int] = set()
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
            found.add(id(target))
            dtype = str(target.dtype).removeprefix("torch.")
            if tuple(target.shape) != tuple(entry.shape) or dtype != entry.dtype:
                problems.append(
                    f"{entry.name}: the module has {dtype}{list(target.shape)}, the file {_shown(header, at)}"
                )
        own.append(target)
    needed = {id(tensor) for tensor in model.state_dict(keep_vars=True).values()}
    problems += [
        f"{name}: missing; the module has {str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
        for name, tensor in expected.items()
        if id(tensor) in needed - found and not name.endswith("num_batches_tracked")
    ]
    shared = sharing(expected.values())
    problems += [
        f"{names[id(tensor)]}: {REPEATED}"
        for tensor in expected.values()
        if id(tensor) in shared & found and repeats(tensor) and not tensor.is_meta
    ]
    if problems:
        raise WeightsMismatch(source, problems)
    return Fit(
        own,
        [slots[id(tensor)] if tensor is not None else [] for tensor in own],
        shared,
        overlapping(own),
        [(tensor, slots[id(tensor)]) for tensor in expected.values() if id(tensor) not in found],
    )


def _from_parallel(given: Sequence[str], expected: Container[str]) -> bool:
    """Whether the names are those of a module that was trained on several devices."""
    return bool(given) and all(name.startswith(PARALLEL_PREFIX) and name not in expected for name in given)


def _shown(header: Header, number: int) -> str:
    entry = header.tensors[number]
    return f"{entry.dtype}{list(entry.shape)} ({location(header, number)})"
