"""The kernels that a first pass makes a card load: noted at deploy, loaded where a context waits.

A driver and its libraries load a kernel when it is first called, which is most of a first pass on a card:
170 of ResNet-50's 174 ms on an H100. Which ones those are, operations and shapes tell, and any pass shows
them, on the processor too. They are kept as data (names of operations and what they were called with, no
value of a tensor), and called again on zeros: neither the model nor a line of its code is needed for that.
Torch's own operations alone are called, and none that changes where a tensor lies, since whoever built the
model could have written anything here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from torch import Tensor

MOST_BYTES = 24 * 2**10
"""Of one model's record. A network of a hundred kinds of layers takes 10 kB."""
_MOST_TENSOR_BYTES = 128 * 2**20
"""Of one call: larger ones would need room on the device that others may have been promised."""
_OF_THE_CALLER = frozenset({"device", "layout", "pin_memory", "memory_format"})


class _Shape(msgspec.Struct, frozen=True):
    """A tensor but for its content; strides in elements."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str


class _Call(msgspec.Struct, frozen=True, array_like=True):
    """One operation. Tensors among the arguments are maps of `_Shape`, dtypes maps of their name."""

    operation: str
    overload: str
    arguments: list[Any]
    named: dict[str, Any]


class _Unsaid(Exception):
    """A call with an argument that is no plain value, or without a tensor."""


def record(run: Callable[[], object]) -> bytes:
    """What this thread computes in `run`, each different call once, for `replay`; at most `MOST_BYTES`, the
    first calls then. Raises what `run` raises.

    It runs under inference_mode, where operations are seen as they are written, and not yet as what this
    device makes of them: each has kernels of its own for attention, say.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found: dict[bytes, None] = {}

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if _computes(func):
                try:
                    found[msgspec.msgpack.encode(_said(func, args, kwargs or {}))] = None
                except (_Unsaid, TypeError, ValueError):
                    pass  # it is loaded when it is called, as all of them were
            return func(*args, **(kwargs or {}))

    with torch.inference_mode(), Watch():  # type: ignore[no-untyped-call]
        run()
    kept: list[msgspec.Raw] = []
    room = MOST_BYTES - 8
    for call in found:
        room -= len(call)
        if room < 0:
            break
        kept.append(msgspec.Raw(call))
    return msgspec.msgpack.encode(kept) if kept else b""


def replay(records: Iterable[bytes], device: str, wanted: Callable[[], bool]) -> int:
    """Calls on `device` what was recorded, each different call once, until it is `wanted`; returns how many
    could be called. What cannot is left out: it will be loaded when it is needed. Raises nothing."""
    import torch

    calls: dict[bytes, None] = {}
    for each in records:
        try:
            calls |= dict.fromkeys(map(bytes, msgspec.msgpack.decode(each, type=list[msgspec.Raw])))
        except (msgspec.DecodeError, RecursionError):  # no record, or one that is nested without end
            continue
    done = 0
    with torch.inference_mode():
        for encoded in calls:
            if wanted():
                break
            try:
                _replay(msgspec.msgpack.decode(encoded, type=_Call), device)
            except Exception:
                # Another device than where it was noted: an operation may not exist there, or not fit.
                continue
            done += 1
    return done


def _computes(operation: Any) -> bool:
    """Of torch itself, and no mere other view of a tensor or another place for it."""
    import torch

    return (
        isinstance(operation, torch._ops.OpOverload)
        and operation.namespace == "aten"
        and not operation.is_view
        and torch.Tag.inplace_view not in operation.tags
    )


def _said(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
    name = operation._schema.name.partition("::")[2]
    named = {key: _value(each) for key, each in kwargs.items() if key not in _OF_THE_CALLER}
    arguments = [_value(each) for each in args]
    if not any(isinstance(each, _Shape) for each in _flat([*arguments, *named.values()])):
        raise _Unsaid
    return _Call(name, operation._overloadname, arguments, named)


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


def _value(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided:
            raise _Unsaid
        return _Shape(tuple(value.shape), tuple(value.stride()), _name(value.dtype))
    if isinstance(value, torch.dtype):
        return {"dtype": _name(value)}
    if isinstance(value, list | tuple):
        return [_value(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise _Unsaid


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _replay(call: _Call, device: str) -> None:
    """Raises whatever an operation raises, ValueError for one that is not to be called."""
    import torch

    operation = getattr(getattr(torch.ops.aten, call.operation), call.overload)
    if not _computes(operation):
        raise ValueError(f"{call.operation} computes nothing")
    zeros = _Zeros(device)
    arguments = [zeros.made(each) for each in call.arguments]
    named = {key: zeros.made(each) for key, each in call.named.items()}
    if not zeros.nbytes:
        raise ValueError(f"{call.operation} is given nothing to compute with")
    operation(*arguments, **named)


class _Zeros:
    """Makes the arguments of one call; `nbytes` are of its tensors."""

    def __init__(self, device: str) -> None:
        self.nbytes = 0
        self._device = device

    def made(self, value: Any) -> Any:
        """Raises ValueError for what no record says, or what is too large."""
        if isinstance(value, list):
            return [self.made(each) for each in value]
        if not isinstance(value, dict):
            return value
        return _dtype(value["dtype"]) if value.keys() == {"dtype"} else self._tensor(value)

    def _tensor(self, value: dict[str, Any]) -> Tensor:
        import torch

        said = msgspec.convert(value, _Shape)
        dtype = _dtype(said.dtype)
        steps = zip(said.shape, said.stride, strict=True)
        elements = 0 if 0 in said.shape else 1 + sum((n - 1) * step for n, step in steps)
        self.nbytes += elements * dtype.itemsize
        if not 0 <= self.nbytes <= _MOST_TENSOR_BYTES:
            raise ValueError(f"tensors of {self.nbytes} bytes are no rehearsal")
        zeros = torch.zeros(elements, dtype=dtype, device=self._device)
        return zeros.as_strided(said.shape, said.stride)


def _dtype(name: str) -> Any:
    import torch

    found = getattr(torch, name)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"torch.{name} is no dtype")
    return found
