"""What modules, functions and methods of torch do to a row for each sample, of those that a stack has."""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.prune import BasePruningMethod

from glowplug.distributed.errors import NotAStack


class Sum(NamedTuple):
    """`weight` (rows, inputs) times what comes."""

    name: str
    weight: Tensor
    bias: Tensor | None


class Clamp(NamedTuple):
    """min(cap, max(floor, each))."""

    floor: float = -inf
    cap: float = inf

    def then(self, other: Clamp) -> Clamp:
        """Both, one after the other, as one."""
        floor, cap = (min(other.cap, max(other.floor, min(self.cap, bound))) for bound in self)
        return Clamp(floor, cap)


class Times(NamedTuple):
    """A matrix, left of what comes or right of it."""

    weight: Tensor
    is_left: bool


class Plus(NamedTuple):
    bias: Tensor


class Turned(NamedTuple):
    """Rows are columns from here on, or rows again."""


Step = Sum | Clamp | Times | Plus | Turned | None
"""None leaves each sample as it is, but perhaps flat."""
SAMPLES = object()
"""Stands for how many samples there are."""


def known_hooks(module: nn.Module) -> bool:
    """Whether it has none but those of torch.nn.utils.prune."""
    befores = module._forward_pre_hooks.values()
    return not module._forward_hooks and all(isinstance(hook, BasePruningMethod) for hook in befores)


def _pruned(module: Any, name: str) -> Any:
    """A parameter as its mask leaves it: the attribute itself is as old as the last forward."""
    mask = getattr(module, f"{name}_mask", None)
    return getattr(module, name) if mask is None else getattr(module, f"{name}_orig") * mask


def _matrix(weight: Any) -> Tensor:
    if not isinstance(weight, Tensor):
        raise NotAStack("it multiplies by something else than a parameter or a buffer")
    return weight


def _linear(weight: Any, bias: Any = None) -> Step:
    if _matrix(weight).dim() != 2:
        raise NotAStack(f"linear multiplies by {tuple(weight.shape)}, and not by a matrix")
    if bias is not None and tuple(getattr(bias, "shape", ())) not in ((len(weight),), (1,)):
        raise NotAStack(f"linear adds something else than a bias for each of {len(weight)} rows")
    return Sum("linear", weight, bias)


def _times_left(weight: Any) -> Step:
    return Times(_matrix(weight), is_left=True)


def _times_right(weight: Any) -> Step:
    return Times(_matrix(weight), is_left=False)


def _plus(bias: Any) -> Step:
    if not isinstance(bias, Tensor):
        raise NotAStack("it adds something else than a parameter or a buffer")
    return Plus(bias)


def _relu(inplace: bool = False) -> Step:
    return Clamp(0.0)


def _relu6(inplace: bool = False) -> Step:
    return Clamp(0.0, 6.0)


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Step:
    return _clamp(min_val, max_val)


def _clamp(min: Any = None, max: Any = None) -> Step:  # torch's names
    for bound in (min, max):
        if not (bound is None or isinstance(bound, (int, float))):
            raise NotAStack("clamp takes a tensor")
    floor, cap = -inf if min is None else float(min), inf if max is None else float(max)
    return Clamp(floor if floor < cap else cap, cap)


def _at_most(max: Any) -> Step:
    return _clamp(None, max)


def _dropout(p: float = 0.5, training: bool = True, inplace: bool = False) -> Step:
    if training:
        raise NotAStack("it drops values out, in training mode as it is")
    return None


def _flatten(start_dim: int = 0, end_dim: int = -1) -> Step:
    if (start_dim, end_dim) != (1, -1):
        raise NotAStack(f"it flattens dimensions {start_dim} to {end_dim}, and not all but the first")
    return None


def _reshape(*shape: Any) -> Step:
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    if len(sizes) == 2 and (sizes[0] is SAMPLES or (sizes[0] == -1 and isinstance(sizes[1], int))):
        return None
    raise NotAStack("it is reshaped to something else than a row for each sample")


def _turn(*dimensions: Any) -> Step:
    if dimensions not in ((), ("T",), (0, 1), (1, 0)):
        raise NotAStack(f"it turns its values, or asks them for something: {dimensions}")
    return Turned()


MODULES: dict[Any, Callable[[Any], Step]] = {
    nn.Linear.forward: lambda module: Sum("", _pruned(module, "weight"), _pruned(module, "bias")),
    nn.ReLU.forward: lambda module: _relu(),
    nn.Hardtanh.forward: lambda module: _clamp(module.min_val, module.max_val),
    nn.Identity.forward: lambda module: None,
    nn.Dropout.forward: lambda module: _dropout(module.p, module.training),
    nn.AlphaDropout.forward: lambda module: _dropout(module.p, module.training),
    nn.Flatten.forward: lambda module: _flatten(module.start_dim, module.end_dim),
}
"""By forward: classes that inherit one, as ReLU6 does, do the same."""

CALLS: dict[Any, Callable[..., Step]] = {
    functional.linear: _linear,
    torch.matmul: _times_right, torch.mm: _times_right, operator.matmul: _times_right,
    "matmul": _times_right, "mm": _times_right,
    operator.add: _plus, torch.add: _plus, "add": _plus,
    functional.relu: _relu, torch.relu: _relu, torch.relu_: _relu, "relu": _relu, "relu_": _relu,
    functional.relu6: _relu6,
    functional.hardtanh: _hardtanh,
    torch.clamp: _clamp, torch.clip: _clamp, torch.clamp_min: _clamp, torch.clamp_max: _at_most,
    "clamp": _clamp, "clamp_": _clamp, "clip": _clamp, "clip_": _clamp,
    "clamp_min": _clamp, "clamp_min_": _clamp, "clamp_max": _at_most, "clamp_max_": _at_most,
    functional.dropout: _dropout,
    torch.flatten: _flatten, "flatten": _flatten,
    torch.reshape: _reshape, "reshape": _reshape, "view": _reshape,
    torch.t: _turn, "t": _turn, torch.transpose: _turn, "transpose": _turn, getattr: _turn,
}  # fmt: skip
"""Functions and names of methods, by what follows their first argument, which is the samples."""

CALLS_ON_SECOND: dict[Any, Callable[..., Step]] = {
    torch.sparse.mm: _times_left, torch.matmul: _times_left, torch.mm: _times_left,
    operator.matmul: _times_left, "matmul": _times_left, "mm": _times_left, "__matmul__": _times_left,
    operator.add: _plus, torch.add: _plus,
}  # fmt: skip
"""The same where the second one is."""
