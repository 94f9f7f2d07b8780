"""Where tensors begin: a product with one that begins between certain addresses may end in other bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from glowplug.loader.format import Header
from glowplug.loader.roots import held_tensors
from glowplug.loader.sharing import give, sharing
from glowplug.loader.tensors import shared_storages

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

KERNELS_ALIGN_BYTES = 16
"""Of MKL's product of a matrix and a vector (decision 009). Torch's own memory begins at multiples of 64."""


def lead_bytes(header: Header) -> int:
    """How far after such a multiple memory for the weights should begin, so that most of their bytes are in
    storages that begin well; fewer than KERNELS_ALIGN_BYTES."""
    weighed = Counter({0: 0})
    for storage in header.storages:
        weighed[-storage.offset % KERNELS_ALIGN_BYTES] += storage.nbytes
    return max(weighed, key=lambda lead: (weighed[lead], -lead))


def astray(header: Header, tensors: Sequence[Tensor]) -> frozenset[int]:
    """The numbers of those whose file put their storage where torch would have put none. One that shares its
    storage with others is never among them."""
    shared = shared_storages(header)
    found = []
    for number, (entry, tensor) in enumerate(zip(header.tensors, tensors, strict=True)):
        start = tensor.data_ptr() - entry.start * tensor.element_size()
        if tensor.numel() and entry.storage not in shared and start % KERNELS_ALIGN_BYTES:
            found.append(number)
    return frozenset(found)


def settle(modules: Iterable[Module]) -> None:
    """Gives memory of its own to each of their tensors that is where torch would have put none, as what
    safetensors maps may be; lazy ones have none yet. They stay the same objects; one whose memory something
    else uses stays there."""
    from torch.nn.parameter import is_lazy

    tensors = {id(tensor): tensor for module in modules for _, _, tensor in held_tensors(module)}
    moved = [one for one in tensors.values() if _begins_badly(one)]
    shared = sharing(one for one in tensors.values() if not is_lazy(one)) if moved else set()
    for one in moved:
        if id(one) not in shared:
            give(one, one.detach().clone(), shared=False)


def _begins_badly(tensor: Tensor) -> bool:
    import torch

    if torch.nn.parameter.is_lazy(tensor) or tensor.layout != torch.strided or tensor.is_meta:
        return False
    if not tensor.numel():
        return False
    storage = tensor.untyped_storage()
    return bool(storage.data_ptr() % KERNELS_ALIGN_BYTES)
