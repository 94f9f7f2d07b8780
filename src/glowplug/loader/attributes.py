"""Tensors where no module has parameters or buffers: in attributes, lists, tuples and dicts.

A pack says of each where it lies, so that it finds its place in an object that its code builds anew.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from glowplug.loader.roots import join, modules_of

if TYPE_CHECKING:
    from torch import Tensor

_LEAVES = (str, bytes, int, float)
_PARTS = ("_parameters", "_buffers", "_modules")
_DIGITS = 12
"""No list is so long that the numbers of its parts have as many."""
_SHARED = (
    type,
    ModuleType,
    FunctionType,
    MethodType,
    BuiltinFunctionType,
    staticmethod,
    classmethod,
    functools._lru_cache_wrapper,
)
"""What they have is not the object's alone: the whole process has it."""


def attributes(obj: object) -> Iterator[tuple[str, Tensor]]:
    """(path, tensor) for each in `obj` to which `place` leads but those that are a module's parameters and
    buffers; what holds them counts once. No way leads through keys that are no names, and by none into a set,
    nor to what the whole process has: modules, classes, functions.
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
                if not isinstance(child, _LEAVES):
                    waiting.append((join(path, name), child))


def _children(one: Any, named: bool) -> Iterator[tuple[str, Any]]:
    for number, holder in enumerate(_holders(one)):
        if isinstance(holder, (list, tuple)):
            yield from ((str(index), value) for index, value in enumerate(holder))
        elif not named or number not in _OWN:
            yield from ((name, value) for name, value in holder.items() if _leads(name))


_OWN = (1, 2)
"""Which of a module's holders have its parameters and buffers."""


def _holders(one: Any) -> list[Any]:
    """The dicts, or the one list or tuple, in which `one` has its parts. Both ways of use go by this: to find
    tensors, and to put some. None of what is shared by the whole process, as a module and a class are."""
    import torch

    if isinstance(one, dict):
        return [] if _is_namespace(one) else [one]
    if isinstance(one, (list, tuple)):
        return [one]
    inside = getattr(one, "__dict__", None)
    if isinstance(one, (*_SHARED, torch.Tensor)) or not isinstance(inside, dict):
        return []
    return [inside, *(inside[part] for part in _PARTS)] if isinstance(one, torch.nn.Module) else [inside]


def _is_namespace(one: dict[Any, Any]) -> bool:
    """Whether these are the globals of a module, or all modules."""
    name = dict.get(one, "__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    return one is sys.modules or getattr(module, "__dict__", None) is one


def _leads(name: Any) -> bool:
    """Whether a path may go by this name."""
    if not isinstance(name, str) or not name or "." in name or name in _PARTS:
        return False
    return not (name.startswith("__") and name.endswith("__"))


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
    if isinstance(found.value, _SHARED):
        raise LookupError(f"it is a {type(found.value).__qualname__} there")
    return found._replace(parameter=parameter)


def _slot(obj: Any, name: str) -> Place:
    if not _leads(name):
        raise LookupError(f"{name!r} is no part")
    holders = _holders(obj)
    if not holders:
        raise LookupError(f"a {type(obj).__qualname__} has no parts")
    if isinstance(holders[0], (list, tuple)):
        is_number = name.isdecimal() and len(name) < _DIGITS
        return Place(holders[0], int(name) if is_number else len(holders[0]))
    return Place(next((holder for holder in holders if name in holder), holders[0]), name)
