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


def give(own: Tensor, value: Tensor, *, shared: bool) -> bool:
    """`own` has the memory of `value` from now on; or, with `shared`, where other tensors use that which it
    has, a copy in there. Its requires_grad stays. False where it can have neither: it has no memory (meta).
    """
    import torch

    if not takes(own, value):
        return False
    fixed = _fixed(own, value)
    if copies(own, value, shared=shared):
        with torch.no_grad(), torch.inference_mode(own.is_inference() or torch.is_inference_mode_enabled()):
            fill(own, value)
    if own.device != value.device:
        if fixed:
            return False
        own.data = value
    elif not shared and not fixed:
        own.data = value
    return True


def fill(own: Tensor, value: Tensor) -> None:
    """Copies the values; of an expanded tensor, of which many elements are one, each once. Raises ValueError
    where these have different values."""
    _fill(own, value)
    if _is_expanded(own) and not same(own, value):
        raise ValueError("elements that are one in the module have different values in the file")


def _fill(own: Tensor, value: Tensor) -> None:
    own, value = own.data, value.data
    for dim, step in enumerate(own.stride()):
        if not step and own.shape[dim] > 1:
            own, value = own.narrow(dim, 0, 1), value.narrow(dim, 0, 1)
    own.copy_(value)


def _is_expanded(tensor: Tensor) -> bool:
    return any(not step and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True))


def copies(own: Tensor, value: Tensor, *, shared: bool) -> bool:
    """Whether `give` reads the bytes of `value`, so that they have to be there."""
    return takes(own, value) and (shared or _fixed(own, value))


def _fixed(own: Tensor, value: Tensor) -> bool:
    # A tensor of inference mode has no version counter, which it would need with another's memory.
    return own.is_inference() and not value.is_inference()


def takes(own: Tensor, value: Tensor) -> bool:
    """Whether both are of kinds of which one can have the other's memory: no tensor on meta has."""
    import torch

    return bool(torch._has_compatible_shallow_copy_type(own, value))


def sharing(tensors: Iterable[Tensor]) -> set[int]:
    """By id: those of `tensors` whose memory others than these use too."""
    import torch

    known: dict[int, dict[int, Tensor]] = {}
    for tensor in tensors:
        if tensor.layout == torch.strided:
            known.setdefault(tensor.untyped_storage()._cdata, {})[id(tensor)] = tensor
    with torch.inference_mode(False):
        probe = torch.empty(2, device="cpu").view(1, 2)
    alone = _users(torch.empty(0, device="cpu")) - 1
    found: set[int] = set()
    for users in known.values():
        views = [tensor for tensor in users.values() if tensor._is_view()]
        # What a view is of has its memory too; nobody holds it if no more refers to it than to the probe's.
        hidden = bool(views) and sys.getrefcount(views[0]._base) == sys.getrefcount(probe._base)
        if _users(next(iter(users.values()))) - alone > len(users) + hidden:
            found.update(users)
    return found


def overlapping(tensors: Iterable[Tensor]) -> dict[int, list[int]]:
    """By id of a tensor: the ids of the others that may have a byte in common with it."""
    import torch

    users: defaultdict[int, dict[int, Tensor]] = defaultdict(dict)
    for tensor in tensors:
        if tensor.layout == torch.strided:
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
    this order, for others of them, or elements of it, have the same memory. Nothing is changed."""
    import torch

    users: defaultdict[int, list[int]] = defaultdict(list)
    for number, (tensor, _) in enumerate(gifts):
        users[tensor.untyped_storage()._cdata].append(number)
    found: list[int] = []
    for numbers in users.values():
        together = [gifts[number][0] for number in numbers]
        if not _overlap(together) and not any(map(_is_expanded, together)):
            continue
        with torch.no_grad(), torch.inference_mode(False):
            memory: Any = gifts[numbers[0]][0].untyped_storage()
            memory = memory.clone()
            copies = []
            for number in numbers:
                tensor, value = gifts[number]
                copy = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
                copy.set_(memory, tensor.storage_offset(), tensor.shape, tensor.stride())
                _fill(copy, value)
                copies.append(copy)
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


def held_elsewhere(tensors: Sequence[Tensor], places: Sequence[int]) -> list[int]:
    """The numbers of those to which more refers than this sequence and so many `places`. No other thread, and
    no variable of the caller's, may refer to one meanwhile."""
    times = Counter(map(id, tensors))
    probe = [object()]
    here = sys.getrefcount(probe[0]) - 1
    return [
        number
        for number, count in enumerate(places)
        # By its number, for a variable would be one more that refers to it.
        if sys.getrefcount(tensors[number]) > here + times[id(tensors[number])] + count
    ]
