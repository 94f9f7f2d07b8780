"""Which modules keep something of a call on themselves: with several calls under way one would find what is
another's."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn

_MADE_OF = ("_orig", "_g")
"""Of parameters from which torch.nn.utils makes what a module computes with, anew in each call."""
_HOLDERS = (dict, list, tuple, set, deque)
_one_at_a_time = threading.Lock()
T = TypeVar("T")


def watched(model: nn.Module, call: Callable[[], T]) -> tuple[T, list[str]]:
    """What `call` returns, and the paths of modules that were given an attribute meanwhile, be it the same
    again, or have other contents than before: tensors that were written to, lists and dicts. Other modules
    than those of `model` must not be used meanwhile. Raises what `call` raises."""
    before = {path: _contents(module) for path, module in model.named_modules()}
    with _assignments() as given:
        found = call()
    keepers = [
        path
        for path, module in model.named_modules()
        if id(module) in given or path not in before or not _alike(before[path], _contents(module))
    ]
    return found, keepers


@contextmanager
def _assignments() -> Iterator[set[int]]:
    """Fills up with the ids of modules that are given an attribute."""
    given: set[int] = set()

    def set_attribute(module: nn.Module, name: str, value: Any) -> None:
        if not _is_made(module, name):
            given.add(id(module))
        usual(module, name, value)

    with _one_at_a_time:
        usual = nn.Module.__setattr__
        nn.Module.__setattr__ = set_attribute  # type: ignore[method-assign,assignment]
        try:
            yield given
        finally:
            nn.Module.__setattr__ = usual  # type: ignore[method-assign]


def _is_made(module: nn.Module, name: str) -> bool:
    parameters = vars(module).get("_parameters", {})
    return any(f"{name}{ending}" in parameters for ending in _MADE_OF)


def _contents(module: nn.Module) -> list[Any]:
    found: list[Any] = []
    own = {name: value for name, value in vars(module).items() if not _is_made(module, name)}
    _add(own, found, set())
    return found


def _add(value: Any, found: list[Any], seen: set[int]) -> None:
    """All that is in `value`, and how often tensors were written to."""
    found.append(len(value) if isinstance(value, _HOLDERS) else value)
    if isinstance(value, Tensor):
        found.append(-1 if value.is_inference() else value._version)
    elif isinstance(value, _HOLDERS) and id(value) not in seen:
        seen.add(id(value))
        for item in value.values() if isinstance(value, dict) else value:
            _add(item, found, seen)


def _alike(before: list[Any], after: list[Any]) -> bool:
    return len(before) == len(after) and all(
        one is other or (type(one) is int and type(other) is int and one == other)
        for one, other in zip(before, after, strict=True)
    )
