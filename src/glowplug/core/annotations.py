"""Annotations of a user's functions, as a worker reads them and as a schema describes them."""

from __future__ import annotations

import collections.abc
import contextlib
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable)


def hints_of(call: Callable[..., Any]) -> dict[str, Any]:
    """By parameter, and of what it returns; those left out that a type checker alone can resolve."""
    try:
        return typing.get_type_hints(call, include_extras=True)
    except Exception:  # a user's names may do anything
        pass
    found: dict[str, Any] = {}
    plain = inspect.unwrap(call)
    names = getattr(getattr(plain, "__func__", plain), "__globals__", {})
    for name, wanted in getattr(plain, "__annotations__", {}).items():
        one = types.SimpleNamespace(__annotations__={name: wanted})
        with contextlib.suppress(Exception):
            found |= typing.get_type_hints(one, names, include_extras=True)
    return found


def bare(wanted: Any) -> Any:
    """An annotation without what `Annotated` says beside it."""
    return typing.get_args(wanted)[0] if typing.get_origin(wanted) is typing.Annotated else wanted


def element_of(wanted: Any) -> Any:
    """T of list[T]; any value where the list does not say of what."""
    wanted = bare(wanted)
    arguments = typing.get_args(wanted)
    return arguments[0] if typing.get_origin(wanted) in _LISTS and len(arguments) == 1 else Any


def array_type(wanted: Any) -> Any:
    """The array or the tensor that an annotation asks for, also when it may be None; else None."""
    wanted = bare(wanted)
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        others = [kind for kind in map(bare, typing.get_args(wanted)) if kind is not types.NoneType]
        return array_type(others[0]) if len(others) == 1 else None
    numpy = sys.modules.get("numpy")
    is_array = numpy is not None and (typing.get_origin(wanted) or wanted) is numpy.ndarray
    return wanted if is_array or is_tensor(wanted) else None


def is_tensor(wanted: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and wanted is torch.Tensor
