"""The torch modules inside any object, and the names of its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_DEPTH = 4


def find_roots(obj: object) -> dict[str, Module]:
    """The outermost modules in `obj` by path: `""` for `obj` itself, `encoder`, `parts.0`, `pipe.model`.

    Looks into attributes, lists, tuples and dicts with string keys, a few levels deep; each module once.
    """
    return dict(_walk(obj, "", _DEPTH, set()))


def _walk(obj: object, path: str, depth: int, seen: set[int]) -> Iterator[tuple[str, Module]]:
    import torch

    if id(obj) in seen:
        return
    if isinstance(obj, torch.nn.Module):
        seen.add(id(obj))
        yield path, obj
    elif depth:
        for name, child in _children(obj).items():
            if "." not in name and not isinstance(child, (str, bytes, int, float, torch.Tensor)):
                seen.add(id(obj))
                yield from _walk(child, join(path, name), depth - 1, seen)


def _children(obj: object) -> dict[str, object]:
    if isinstance(obj, dict):
        return {name: value for name, value in obj.items() if isinstance(name, str)}
    if isinstance(obj, (list, tuple)):
        return {str(index): value for index, value in enumerate(obj)}
    if isinstance(obj, (type, ModuleType, FunctionType)):
        return {}
    return dict(getattr(obj, "__dict__", {}))


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def resolve(obj: object, path: str) -> object:
    """What `find_roots`, or a module's own name, called `path`. Raises LookupError."""
    for name in path.split(".") if path else ():
        try:
            if isinstance(obj, dict):
                obj = obj[name]
            elif isinstance(obj, (list, tuple)):
                obj = obj[int(name)]
            else:
                obj = getattr(obj, name)
        except (LookupError, ValueError, AttributeError) as error:
            raise LookupError(f"{path!r}: a {type(obj).__qualname__} has no part {name!r}") from error
    return obj


def tensor_names(obj: object) -> dict[int, str]:
    """id(tensor) -> dotted name, for every parameter and buffer; a tied tensor has its first name."""
    names: dict[int, str] = {}
    for path, root in find_roots(obj).items():
        for named in (root.named_parameters(), root.named_buffers()):
            for name, tensor in named:
                names.setdefault(id(tensor), join(path, name))
    return names


def modules_of(obj: object) -> Iterator[Module]:
    """Every module in `obj` once, whole before part, in the order of `Module.modules`, which takes five times
    as long."""
    seen: set[int] = set()
    for root in find_roots(obj).values():
        yield from _inside(root, seen)


def shared_modules(obj: object) -> Iterator[Module]:
    """Those that several of the outermost modules in `obj` have, once for each but the first."""
    roots = list(find_roots(obj).values())
    seen: set[int] = set()
    for root in roots if len(roots) > 1 else ():
        known = set(seen)
        for module in _inside(root, set()):
            seen.add(id(module))
            if id(module) in known:
                yield module


def _inside(root: Module, seen: set[int]) -> Iterator[Module]:
    waiting: list[Module | None] = [root]
    while waiting:
        module = waiting.pop()
        if module is not None and id(module) not in seen:
            seen.add(id(module))
            yield module
            waiting.extend(reversed(module._modules.values()))


def held_tensors(obj: object) -> Iterator[tuple[Module, str, Tensor]]:
    """(module, name, tensor) for every parameter and buffer of every module in `obj`, a tied one every
    time.
    """
    for module in modules_of(obj):
        for held in (module._parameters, module._buffers):
            yield from ((module, name, tensor) for name, tensor in held.items() if tensor is not None)
