"""Tensors where no module has parameters or buffers: in attributes, lists, tuples and dicts.

A pack says of each where it lies, so that it finds its place in an object that its code builds anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from glowplug.loader.roots import join, modules_of

if TYPE_CHECKING:
    from torch import Tensor

_LEAVES = (str, bytes, int, float)
_PARTS = ("_parameters", "_buffers", "_modules")


def attributes(obj: object) -> Iterator[tuple[str, Tensor]]:
    """(path, tensor) for each in `obj` to which `place` leads but those that are a module's parameters and
    buffers; what holds them counts once. No way leads through keys that are no names, and by none into a set.
    """
    import torch

    named = {id(module) for module in modules_of(obj)}
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", obj)]
    while waiting:
        path, one = waiting.pop()
        if isinstance(one, torch.Tensor):
            yield path, one
        elif id(one) not in seen:
            seen.add(id(one))
            for name, child in _children(one, id(one) in named):
                if name and "." not in name and not isinstance(child, _LEAVES):
                    waiting.append((join(path, name), child))


def _children(one: Any, named: bool) -> Iterator[tuple[str, Any]]:
    import torch

    if isinstance(one, dict):
        yield from ((name, value) for name, value in one.items() if isinstance(name, str))
    elif isinstance(one, (list, tuple)):
        yield from ((str(index), value) for index, value in enumerate(one))
    elif isinstance(one, torch.nn.Module):
        inside = vars(one)
        yield from ((name, value) for name, value in inside.items() if name not in _PARTS)
        for part in _PARTS[2:] if named else _PARTS:
            yield from inside[part].items()
    elif not isinstance(one, (type, ModuleType, FunctionType)):
        yield from getattr(one, "__dict__", {}).items()


class Place(NamedTuple):
    """Where in an object a tensor lies, or would lie: under this key of what holds it."""

    holder: Any
    key: Any
    parameter: bool = False
    """Whether what is put there is to be one."""

    @property
    def value(self) -> Any:
        """What is there; None for nothing."""
        try:
            return self.holder[self.key]
        except LookupError:
            return None

    def put(self, tensor: Tensor) -> None:
        """Raises TypeError for a place in a tuple."""
        self.holder[self.key] = tensor


def place(obj: object, path: str, parameter: bool = False) -> Place:
    """Raises LookupError where `obj` has no such part to hold it, or a module in its stead."""
    import torch

    *parts, last = path.split(".")
    for number, part in enumerate(parts):
        obj = _slot(obj, part).value
        if obj is None:
            raise LookupError(f"there is no {'.'.join(parts[: number + 1])}")
    found = _slot(obj, last)
    if isinstance(found.holder, (list, tuple)) and not found.key < len(found.holder):
        raise LookupError(f"{'.'.join(parts)} has {len(found.holder)} parts")
    if isinstance(found.value, torch.nn.Module):
        raise LookupError("it is a module there")
    return found._replace(parameter=parameter)


def _slot(obj: Any, name: str) -> Place:
    import torch

    if not name or name in _PARTS:
        raise LookupError(f"{name!r} is no part")
    if isinstance(obj, dict):
        return Place(obj, name)
    if isinstance(obj, (list, tuple)):
        return Place(obj, int(name) if name.isdecimal() else len(obj))
    inside = getattr(obj, "__dict__", None)
    if inside is None or isinstance(obj, torch.Tensor):
        raise LookupError(f"a {type(obj).__qualname__} has no parts")
    if isinstance(obj, torch.nn.Module):
        for part in _PARTS:
            if name in inside[part]:
                return Place(inside[part], name)
    return Place(inside, name)
