"""Which tensor of a file goes where in a model that was just built."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from glowplug.loader.errors import WeightsMismatch
from glowplug.loader.format import TensorEntry
from glowplug.loader.roots import held_tensors, tensor_names
from glowplug.loader.weights import PARALLEL_PREFIX

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class Slot(NamedTuple):
    """One place in a model where a tensor goes: an entry of a module's parameters or buffers."""

    module: Module
    name: str
    parameter: bool

    def assign(self, value: Tensor, own: Tensor) -> None:
        """The tensor takes the place of `own`, whose requires_grad it keeps."""
        import torch

        held = self.module.__dict__["_parameters" if self.parameter else "_buffers"]
        held[self.name] = torch.nn.Parameter(value, own.requires_grad) if self.parameter else value


class Fit(NamedTuple):
    """For each tensor of the file: the model's own tensor and every place that holds it; None and none for
    what the build makes by itself (a plain attribute, or a value that no name leads to)."""

    own: list[Any]
    slots: list[list[Slot]]


def fit(model: Module, entries: Sequence[TensorEntry], source: str) -> Fit:
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
    parallel = _from_parallel([entry.name for entry in entries], aliases)
    for entry in entries:
        name = entry.name.removeprefix(PARALLEL_PREFIX) if parallel else entry.name
        number = aliases.get(name) if name else None
        if entry.name and number is None:
            problems.append(
                f"{entry.name}: unexpected; the file has {_shown(entry)}, the module nothing of this name"
            )
        target = by_id[number] if number is not None else None
        if target is not None:
            found.add(id(target))
            dtype = str(target.dtype).removeprefix("torch.")
            if tuple(target.shape) != tuple(entry.shape) or dtype != entry.dtype:
                problems.append(
                    f"{entry.name}: the module has {dtype}{list(target.shape)}, the file {_shown(entry)}"
                )
        own.append(target)
    needed = {id(tensor) for tensor in model.state_dict(keep_vars=True).values()}
    problems += [
        f"{name}: missing; the module has {str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
        for name, tensor in expected.items()
        if id(tensor) in needed - found and not name.endswith("num_batches_tracked")
    ]
    if problems:
        raise WeightsMismatch(source, problems)
    return Fit(own, [slots[id(tensor)] if tensor is not None else [] for tensor in own])


def _from_parallel(given: Sequence[str], expected: Container[str]) -> bool:
    """Whether the names are those of a module that was trained on several devices."""
    return bool(given) and all(name.startswith(PARALLEL_PREFIX) and name not in expected for name in given)


def _shown(entry: TensorEntry) -> str:
    return f"{entry.dtype}{list(entry.shape)}"
