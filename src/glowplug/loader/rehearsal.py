"""Running a model to see how it runs, without a change to it.

A forward may write to buffers, keep things in attributes, draw random numbers. So it is not the model that
runs but stand-ins, rebuilt from its skeleton as a load would have it, each for one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from glowplug.loader import skeleton
from glowplug.loader.roots import held_tensors, modules_of
from glowplug.loader.tensors import runs_of
from glowplug.loader.tracing import Trace, eagerly, trace

if TYPE_CHECKING:
    from torch import Tensor


def rehearse(obj: object, run: Callable[[Any], object], path: str) -> Trace:
    """What a trace of `run(obj)` sees, once kernels and memory are warm: a pass before it pays for those.

    `run` gets a stand-in each time, in evaluation mode. Its parameters have the memory of `obj`'s; all else
    is its own, and goes with it. Random numbers are drawn as if nobody had. `path` is named in errors.
    Raises NotPicklable, NotRebuildable, and what `run` raises.
    """
    import torch

    graph, table = skeleton.dump(obj)
    with torch.random.fork_rng(devices=()):
        stand_in, _ = _stand_in(graph, table.tensors, path)
        with torch.inference_mode(), eagerly():
            run(stand_in)
        stand_in, tensors = _stand_in(graph, table.tensors, path)
        with torch.inference_mode(), trace(stand_in) as seen:
            run(stand_in)
    known = {id(tensor): own for tensor, own in zip(tensors, table.tensors, strict=True)}
    seen.order = [known[id(tensor)] for tensor in seen.order if id(tensor) in known]
    return seen


def make_lazy_ones(obj: object, run: Callable[[Any], object]) -> None:
    """Lazy modules get their parameters by running, as torch has it, and then `obj` is run once itself."""
    import torch

    if not any(torch.nn.parameter.is_lazy(tensor) for _, _, tensor in held_tensors(obj)):
        return
    modes = [(module, module.training) for module in modules_of(obj)]
    try:
        _evaluate(obj)  # what is made here has seen no batch
        # What is made in inference mode could never be trained.
        with torch.inference_mode(False), torch.no_grad():
            run(obj)
    finally:
        for module, training in modes:
            module.training = training


def _stand_in(graph: bytes, tensors: Sequence[Tensor], path: str) -> tuple[object, list[Tensor]]:
    alike = _alike(tensors)
    made = skeleton.load(graph, alike, path)
    _evaluate(made)
    return made, alike


def _evaluate(obj: object) -> None:
    """By the flag alone: a class may do more in its `train` than a pass needs, as merge weights."""
    for module in modules_of(obj):
        module.training = False


def _alike(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Parameters on the memory that they have; what else no parameter has a part of is copied."""
    import torch

    made: list[Tensor] = [torch.empty(0)] * len(tensors)
    with torch.inference_mode(False), torch.no_grad():
        for run, members in zip(*runs_of(tensors), strict=True):
            copy = None
            if not any(isinstance(tensors[t], torch.nn.Parameter) for t in members):
                copy = torch.empty(run.pad_bytes + run.nbytes, dtype=torch.uint8)
                copy.numpy().data[run.pad_bytes :] = run.memory()
            for t in members:
                made[t] = _on(copy, tensors[t], run.address - run.pad_bytes)
    return made


def _on(copy: Tensor | None, tensor: Tensor, address: int) -> Tensor:
    """Another tensor like this one, on its memory or on a copy of what begins at this address."""
    import torch

    one = torch.empty(0, dtype=tensor.dtype)
    if not tensor.numel():
        one = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    elif copy is None:
        one.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())
    else:
        start = (tensor.data_ptr() - address) // tensor.element_size()
        one.set_(copy.untyped_storage(), start, tensor.shape, tensor.stride())
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(one, tensor.requires_grad)
    return one.requires_grad_(tensor.requires_grad)
