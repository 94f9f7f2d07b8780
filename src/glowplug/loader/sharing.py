"""Who else has a module's tensors or their memory: a list, a partial, a view that the module made of one.

Who gives a module other tensors must not leave those behind, with whatever their memory held.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


REPEATED = (
    "several of its elements are one in the module, as after expand(), and something else there uses their "
    "memory too, so that it can have no values of its own; clone() it"
)
"""Of a tensor that `repeats` and is shared."""


def give(own: Tensor, value: Tensor, *, shared: bool) -> bool:
    """`own` has the memory of `value` from now on; or, with `shared`, where other tensors use that which it
    has, a copy in there. Its requires_grad stays. False where it can have neither: it has no memory (meta).
    """
    import torch

    if not takes(own, value):
        return False
    # A tensor of inference mode has no version counter, which it would need with another's memory.
    fixed = own.is_inference() and not value.is_inference()
    if shared or fixed:
        with torch.no_grad(), torch.inference_mode(own.is_inference() or torch.is_inference_mode_enabled()):
            own.data.copy_(value)
    if own.device != value.device:
        if fixed:
            return False
        own.data = value
    elif not shared and not fixed:
        own.data = value
    return True


def takes(own: Tensor, value: Tensor) -> bool:
    """Whether both are of kinds of which one can have the other's memory: no tensor on meta has."""
    import torch

    return bool(torch._has_compatible_shallow_copy_type(own, value))


def repeats(tensor: Tensor) -> bool:
    """Whether several of its elements are one, as after `expand`: torch copies nothing into such a tensor."""
    import torch

    if tensor.layout != torch.strided:
        return False
    return any(size > 1 and not step for size, step in zip(tensor.shape, tensor.stride(), strict=True))


def sharing(tensors: Iterable[Tensor]) -> set[int]:
    """By id: those of `tensors` whose memory others than these use too."""
    import torch

    known: dict[int, dict[int, Tensor]] = {}
    for tensor in tensors:
        if tensor.layout == torch.strided:
            known.setdefault(tensor.untyped_storage()._cdata, {})[id(tensor)] = tensor
    with torch.inference_mode(False):
        probe = torch.empty(2).view(1, 2)
    alone = _users(torch.empty(0)) - 1
    found: set[int] = set()
    for users in known.values():
        views = [tensor for tensor in users.values() if tensor._is_view()]
        # What a view is of has its memory too; nobody holds it if no more refers to it than to the probe's.
        hidden = bool(views) and sys.getrefcount(views[0]._base) == sys.getrefcount(probe._base)
        if _users(next(iter(users.values()))) - alone > len(users) + hidden:
            found.update(users)
    return found


def overlapping(tensors: Iterable[Tensor | None]) -> dict[int, list[int]]:
    """By id of a tensor: the ids of the others that may have a byte in common with it."""
    import torch

    users: defaultdict[int, dict[int, Tensor]] = defaultdict(dict)
    for tensor in tensors:
        if tensor is not None and tensor.layout == torch.strided:
            users[tensor.untyped_storage()._cdata][id(tensor)] = tensor
    found: defaultdict[int, list[int]] = defaultdict(list)
    for together in (each for each in users.values() if len(each) > 1):
        reaching: list[tuple[int, int]] = []
        extents = ((_extent(tensor), one) for one, tensor in together.items())
        for start, end, one in sorted((*extent, one) for extent, one in extents if extent is not None):
            reaching = [each for each in reaching if each[0] > start]
            for _, other in reaching:
                found[one].append(other)
                found[other].append(one)
            reaching.append((end, one))
    return dict(found)


def overwritten(gifts: Sequence[tuple[Tensor, Tensor]]) -> list[int]:
    """The numbers of the (tensor, value) of which the tensor would not have its value once all are copied, in
    this order, for others of them have the same memory. Nothing is changed."""
    import torch

    users: defaultdict[int, list[int]] = defaultdict(list)
    for number, (tensor, _) in enumerate(gifts):
        users[tensor.untyped_storage()._cdata].append(number)
    found: list[int] = []
    for numbers in users.values():
        if not _overlap([gifts[number][0] for number in numbers]):
            continue
        with torch.no_grad(), torch.inference_mode(False):
            memory: Any = gifts[numbers[0]][0].untyped_storage()
            memory = memory.clone()
            copies = []
            for number in numbers:
                tensor, value = gifts[number]
                copy = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
                copy.set_(memory, tensor.storage_offset(), tensor.shape, tensor.stride())
                copies.append(copy.copy_(value))
        found += [n for n, copy in zip(numbers, copies, strict=True) if not same(copy, gifts[n][1])]
    return found


def _overlap(tensors: Iterable[Tensor]) -> bool:
    """Whether any two of them, which are on one storage, may have a byte in common."""
    extents = sorted(extent for tensor in tensors if (extent := _extent(tensor)) is not None)
    return any(end > start for (_, end), (start, _) in pairwise(extents))


def _extent(tensor: Any) -> tuple[int, int] | None:
    """From which byte of its storage to which; None where it has no value."""
    if not tensor.numel():
        return None
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.storage_offset()
    return start * tensor.itemsize, (start + last + 1) * tensor.itemsize


def same(one: Tensor, other: Tensor) -> bool:
    """Bit for bit: NaN is NaN."""
    import torch

    bits = [tensor.detach().reshape(-1).contiguous().view(torch.uint8) for tensor in (one, other)]
    return torch.equal(*bits)


def _users(tensor: Tensor) -> int:
    """How many tensors have this one's memory, and a constant more."""
    import torch

    return int(torch._C._storage_Use_Count(tensor.untyped_storage()._cdata))


def held_elsewhere(tensors: Sequence[Tensor | None], places: Sequence[int]) -> list[int]:
    """The numbers of those to which more refers than this sequence and so many `places`. No other thread, and
    no variable of the caller's, may refer to one meanwhile."""
    times = Counter(map(id, tensors))
    probe = [object()]
    here = sys.getrefcount(probe[0]) - 1
    return [
        number
        for number, count in enumerate(places)
        # By its number, for a variable would be one more that refers to it.
        if tensors[number] is not None
        and sys.getrefcount(tensors[number]) > here + times[id(tensors[number])] + count
    ]
