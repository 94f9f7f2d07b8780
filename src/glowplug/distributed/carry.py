"""What one stage of a model hands the next, as bytes: tensors, and the plain values they come with. Lossless,
including strides: kernels are chosen by stride, so other strides could change the last bits of a sum.

Layout: length of the head 4, little endian; the head in msgpack: the tree, and each tensor's dtype, order of
dimensions and bytes; then the tensors one after another (`tensor_codec`), each at a multiple of 64.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from glowplug.distributed.channels.base import Buffer
from glowplug.distributed.errors import CannotCut, FrameCorrupt
from glowplug.distributed.tensor_codec import decode_tensor, encode_tensor

if TYPE_CHECKING:
    from torch import Tensor

_LENGTH = struct.Struct("<I")
_ALIGNMENT = 64
_MOST_BYTES = 2**40
_PLAIN = (type(None), bool, int, float, str)


class _Described(msgspec.Struct, frozen=True, array_like=True):
    dtype: str
    order: tuple[int, ...]
    """Its dimensions, the one of the widest stride first."""
    nbytes: int


class _Head(msgspec.Struct, frozen=True, array_like=True):
    tree: Any
    tensors: tuple[_Described, ...]


def pack(value: Any) -> bytes:
    """Tensors, None, numbers and text in tuples, lists and dicts with text keys. Raises CannotCut."""
    tensors: list[Tensor] = []
    tree = _describe(value, tensors)
    bodies, described = [], []
    for tensor in tensors:
        order = _order_of(tensor)
        body = encode_tensor(_to_numpy(tensor.permute(order).contiguous()))
        described.append(_Described(str(tensor.dtype).removeprefix("torch."), order, len(body)))
        bodies.append(body + bytes(-len(body) % _ALIGNMENT))
    head = msgspec.msgpack.encode(_Head(tree, tuple(described)))
    start = _LENGTH.pack(len(head)) + head
    return b"".join((start, bytes(-len(start) % _ALIGNMENT), *bodies))


def unpack(data: Buffer) -> Any:
    """What `pack` was given; its tensors are in memory of their own. Raises FrameCorrupt."""
    view = memoryview(data).cast("B")
    try:
        (length,) = _LENGTH.unpack_from(view)
        head = msgspec.msgpack.decode(view[_LENGTH.size : _LENGTH.size + length], type=_Head)
    except (struct.error, msgspec.MsgspecError) as error:
        raise FrameCorrupt(f"what a stage handed on cannot be read: {error}") from error
    at = _LENGTH.size + length
    at += -at % _ALIGNMENT
    tensors = []
    for described in head.tensors:
        tensors.append(_to_tensor(view[at : at + described.nbytes], described))
        at += described.nbytes + -described.nbytes % _ALIGNMENT
    return _rebuild(head.tree, tensors)


def _order_of(tensor: Tensor) -> tuple[int, ...]:
    strides = tensor.stride()
    return tuple(sorted(range(tensor.ndim), key=lambda dimension: (-strides[dimension], dimension)))


def _describe(value: Any, tensors: list[Tensor]) -> Any:
    """The tree without its tensors, which are added, each once: `[kind, content]`."""
    import torch

    if isinstance(value, torch.Tensor):
        number = next((n for n, known in enumerate(tensors) if known is value), len(tensors))
        if number == len(tensors):
            tensors.append(value)
        return ["t", number]
    if type(value) in _PLAIN:
        return ["v", value]
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list, torch.Size):
        return ["l" if type(value) is list else "u", [_describe(item, tensors) for item in value]]
    if type(value) is dict and all(type(name) is str for name in value):
        return ["d", {name: _describe(item, tensors) for name, item in value.items()}]
    raise CannotCut(
        f"a block is called with a {type(value).__qualname__}, which cannot be handed to another worker: "
        "only tensors, None, numbers and text can, in tuples, lists and dicts"
    )


def _rebuild(tree: Any, tensors: list[Tensor]) -> Any:
    kind, content = tree
    if kind == "t":
        return tensors[content]
    if kind == "v":
        return content
    if kind == "d":
        return {name: _rebuild(item, tensors) for name, item in content.items()}
    items = [_rebuild(item, tensors) for item in content]
    return items if kind == "l" else tuple(items)


def _to_numpy(tensor: Tensor) -> Any:
    import torch

    plain = tensor.detach()
    try:
        return (plain.view(torch.uint16) if plain.dtype == torch.bfloat16 else plain).numpy()
    except TypeError as error:
        raise CannotCut(
            f"a block takes a tensor of {plain.dtype}, which cannot be handed on: {error}"
        ) from error


def _to_tensor(body: memoryview, described: _Described) -> Tensor:
    import torch

    array = decode_tensor(body, most_bytes=_MOST_BYTES)
    dtype: torch.dtype = getattr(torch, described.dtype)
    # Memory of torch's own, aligned as what a stage computes itself: kernels look at that too.
    made = torch.empty(array.shape, dtype=dtype)
    if made.numel():
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        made.view(-1).view(torch.uint8).numpy()[:] = raw
    back = sorted(range(made.ndim), key=described.order.__getitem__)
    return made.permute(back)
