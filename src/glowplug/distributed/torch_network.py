"""From a torch model that is a stack of sparse linear layers to a network, which every plan can spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.errors import NotAStack
from glowplug.distributed.network import Activation, Floats, Layer
from glowplug.distributed.stored import StoredNetwork, layer_of_edges
from glowplug.distributed.torch_calls import Clamp, Sum
from glowplug.distributed.torch_steps import steps_of
from glowplug.distributed.workload.oracle import oracle, worst_error

MOST_DENSITY = 0.25
"""The share of weights that are not zero, of all layers together, up to which a stack is sparse."""


def sparse_network_of(model: nn.Module) -> StoredNetwork:
    """The network that a stack of linear layers is, each with a clamp after it or nothing: ReLU, ReLU6,
    Hardtanh, clamp. As it is now, in fp32; zeros are no connections.

    Raises NotAStack with what it is instead: other steps, other numbers than fp32, or more than MOST_DENSITY
    of the weights not zero. At that density an edge's 8 bytes make half of a dense layer, and its sums take
    1.3 times as long as torch's dense product; they take as long at 0.17, and a third at 0.05 (1024 rows and
    inputs, 512 samples, one core). One dense layer among sparse ones, as the last often is, does not count
    by itself.
    """
    sums: list[Sum] = []
    clamps: list[Clamp] = []
    for step in steps_of(model):
        if isinstance(step, Sum):
            sums.append(step)
            clamps.append(Clamp())
        elif sums:
            clamps[-1] = clamps[-1].then(step)
        else:
            raise NotAStack("an activation comes before its first linear layer")
    if not sums:
        raise NotAStack("it has no linear layer")
    _check_density(sums)
    layers = [_layer(step) for step in sums]
    activations = [_activation(layer, clamp) for layer, clamp in zip(layers, clamps, strict=True)]
    try:
        return StoredNetwork(layers, activations)
    except InvalidArguments as error:
        raise NotAStack(str(error)) from error


def _check_density(sums: Sequence[Sum]) -> None:
    """Before any layer is made: what one is made from takes several times what dense weights do."""
    edges, weights = 0, sum(step.weight.numel() for step in sums)
    for step in sums:
        _check_numbers(step)
        values = _values(step.weight.detach())
        if values.numel() and not all(bound.isfinite() for bound in values.aminmax()):
            raise NotAStack(f"{step.name} has weights that are not finite")
        edges += int(torch.count_nonzero(values))
    if not edges:
        raise NotAStack("all of its weights are zero")
    if edges > MOST_DENSITY * weights:
        raise NotAStack(
            f"{edges / weights:.0%} of its weights are not zero, and above {MOST_DENSITY:.0%} it is dense"
        )


def _check_numbers(step: Sum) -> None:
    for tensor in (step.weight, step.bias):
        if tensor is not None and (tensor.is_meta or tensor.dtype != torch.float32):
            what = "on the meta device" if tensor.is_meta else f"{tensor.dtype}"
            raise NotAStack(f"{step.name} is {what}, and sums are of torch.float32")


def _values(weight: Tensor) -> Tensor:
    """Those that are stored, some of which may be zero."""
    if weight.layout == torch.strided:
        return weight
    return weight.to_sparse_coo().coalesce().values()  # type: ignore[no-untyped-call,no-any-return]


def is_answer(network: StoredNetwork, x: Floats, answer: Floats) -> bool:
    """Whether `answer` (rows, samples) of the model on `x` is what the network's sums come to, but for
    rounding: torch sums in another order, so neither equals the other to the bit. Both are compared with
    fp64, and may be off by what fp32 can be (`worst_error`)."""
    right = oracle(network, x)
    return answer.shape == right.shape and bool((abs(answer - right) <= worst_error(network, x)).all())


def _layer(step: Sum) -> Layer:
    found = step.weight.detach().to_sparse_coo().coalesce().cpu()  # type: ignore[no-untyped-call]
    values = found.values().numpy()
    bias = np.zeros(len(found), np.float32)
    if step.bias is not None:
        bias = step.bias.detach().to_dense().cpu().numpy()
    if not np.isfinite(bias).all():
        raise NotAStack(f"{step.name} has a bias that is not finite")
    there = np.flatnonzero(values)  # zeros may be stored
    row_ids, indices = found.indices().numpy()[:, there]
    return layer_of_edges(tuple(found.shape), row_ids, indices, values[there], bias)


def _activation(layer: Layer, clamp: Clamp) -> Activation:
    """Where no bias can wake a row whose sum is zero, samples that died out need not be computed."""
    sleeps = not layer.bias.any() or (clamp.floor == 0 and not (layer.bias > 0).any())
    floor, cap = (float(np.float32(bound)) for bound in clamp)
    return Activation(cap=cap, bias_everywhere=not sleeps, floor=floor)
