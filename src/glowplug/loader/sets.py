"""The items of a set in an order that every process finds: hashes of strings differ between processes, those
of classes with where they lie.
"""

from __future__ import annotations

import enum
import pickle
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType
from typing import Any

_ATOMS = frozenset({str, bytes, int, float, complex, bool, type(None), FunctionType, BuiltinFunctionType})
_PROTOCOL = 5


def in_order(items: Iterable[Any]) -> list[Any] | None:
    """None where some are neither strings, numbers, classes, functions, members of an enum or dtypes, nor
    tuples and frozensets of these: what else there is may have no value but its identity, or refer back to
    the set."""
    chosen = list(items)
    if all(type(item) is str for item in chosen):
        return sorted(chosen)
    try:
        return sorted(chosen, key=_key)
    except Exception:  # that it is no such item, or that its __reduce__ raises something
        return None


def _key(item: Any) -> bytes:
    import torch

    kind = type(item)
    if kind is tuple:
        return repr(("tuple", [_key(each) for each in item])).encode()
    if kind is frozenset:
        return repr(("frozenset", sorted(map(_key, item)))).encode()
    if kind in _ATOMS or isinstance(item, (type, enum.Enum, torch.dtype)):
        return repr((kind.__qualname__, pickle.dumps(item, _PROTOCOL))).encode()
    raise TypeError(f"a {kind.__qualname__} has no order")
