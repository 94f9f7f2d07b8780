"""What a torch model is given and returns, as plain values that can be carried to another process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glowplug.core.errors import InvalidDeclaration
from glowplug.distributed import carry
from glowplug.distributed.channels.base import Buffer
from glowplug.loader.api import run_on

if TYPE_CHECKING:
    from torch import Tensor, nn

_PLAIN = (type(None), bool, int, float, str)


def plain(value: Any, whose: str) -> Any:
    """Tensors, None, numbers and text in tuples, lists and dicts: mappings of any kind become dicts, and
    named tuples tuples. Raises InvalidDeclaration, which begins with `whose`."""
    import torch

    if isinstance(value, torch.Tensor) or type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        if not all(type(name) is str for name in value):
            raise InvalidDeclaration(f"{whose} has a mapping with keys that are no text")
        return {name: plain(item, whose) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [plain(item, whose) for item in value]
        return items if isinstance(value, list) else tuple(items)
    raise InvalidDeclaration(
        f"{whose} has a {type(value).__qualname__}: only tensors, None, numbers and text can be carried to "
        "another process, in tuples, lists and mappings"
    )


def packed_input(value: Any) -> bytes:
    """Raises InvalidDeclaration, CannotCut."""
    return carry.pack(plain(value, "an input"))


def run_packed(model: nn.Module, given: Buffer) -> Any:
    """On tensors of the call's own: a model may work in place on what it is given."""
    return run_on(model, carry.unpack(given))


def same_bits(one: Any, other: Any) -> bool:
    """Whether two plain values are equal, tensors to the last bit."""
    import torch

    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor) and _same(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same_bits, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_bits(one[name], other[name]) for name in one)
    return bool(one == other) or (one != one and other != other)


def _same(one: Tensor, other: Tensor) -> bool:
    import torch

    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    raw, others = (each.detach().contiguous().reshape(-1).view(torch.uint8) for each in (one, other))
    return torch.equal(raw, others)
