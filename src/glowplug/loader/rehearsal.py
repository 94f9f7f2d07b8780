"""Running a model to see how it runs, without a change to it.

A forward may write to buffers, keep things in attributes, draw random numbers. So it is not the model that
runs but stand-ins, rebuilt from its skeleton as a load would have it, each for one pass. Nor is it the
example input that they get, but copies of it.
"""

from __future__ import annotations

import gc
import random
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    is its own, and goes with it, before the next one is made. Random numbers (torch's on the CPU, NumPy's,
    `random`'s) are drawn as if nobody had. `path` is named in errors.
    Raises NotPicklable, NotRebuildable, and what `run` raises.
    """
    import torch

    graph, table = skeleton.dump(obj)
    with _unseen_draws():
        stand_in, tensors = _stand_in(graph, table.tensors, path)
        with torch.inference_mode(), eagerly():
            run(stand_in)
        first = [weakref.ref(tensor) for tensor in tensors]
        del stand_in, tensors
        if any(tensor() is not None for tensor in first):
            gc.collect()  # it takes long, and is for models that refer to themselves
        stand_in, tensors = _stand_in(graph, table.tensors, path)
        with torch.inference_mode(), trace(stand_in) as seen:
            run(stand_in)
    known = {id(tensor): own for tensor, own in zip(tensors, table.tensors, strict=True)}
    seen.order = [known[id(tensor)] for tensor in seen.order if id(tensor) in known]
    return seen


@contextmanager
def _unseen_draws() -> Iterator[None]:
    import torch

    numpy = sys.modules.get("numpy")
    of_numpy = numpy.random.get_state() if numpy is not None else None
    of_python = random.getstate()
    try:
        with torch.random.fork_rng(devices=()):
            yield
    finally:
        random.setstate(of_python)
        if numpy is not None:
            numpy.random.set_state(of_numpy)


def copied(value: Any) -> Any:
    """An example input that a pass may change: its tensors, arrays, lists, tuples and dicts are copies, what
    is in it twice once. All else is the same object."""
    import torch

    with torch.inference_mode(False), torch.no_grad():
        return _copied(value, {})


def _copied(value: Any, known: dict[int, Any]) -> Any:
    import torch

    if id(value) in known:
        return known[id(value)]
    numpy, kind = sys.modules.get("numpy"), type(value)
    made: Any = value
    if isinstance(value, torch.Tensor):
        made = value.detach().clone().requires_grad_(value.requires_grad)
    elif numpy is not None and isinstance(value, numpy.ndarray):
        made = value.copy()
    elif kind is list:
        made = known[id(value)] = []
        made += (_copied(one, known) for one in value)
    elif kind is dict:
        made = known[id(value)] = {}
        made.update((name, _copied(one, known)) for name, one in value.items())
    elif isinstance(value, tuple) and (kind is tuple or hasattr(kind, "_make")):
        parts = [_copied(one, known) for one in value]
        made = tuple(parts) if kind is tuple else kind._make(parts)
    known[id(value)] = made
    return made


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

    made: list[Tensor] = [torch.empty(0, device="cpu")] * len(tensors)
    with torch.inference_mode(False), torch.no_grad():
        for run, members in zip(*runs_of(tensors), strict=True):
            copy = None
            if not any(isinstance(tensors[t], torch.nn.Parameter) for t in members):
                copy = torch.empty(run.pad_bytes + run.nbytes, dtype=torch.uint8, device="cpu")
                copy.numpy().data[run.pad_bytes :] = run.memory()
            for t in members:
                made[t] = _on(copy, tensors[t], run.address - run.pad_bytes)
    return made


def _on(copy: Tensor | None, tensor: Tensor, address: int) -> Tensor:
    """Another tensor like this one, on its memory or on a copy of what begins at this address."""
    import torch

    one = torch.empty(0, dtype=tensor.dtype, device="cpu")
    if not tensor.numel():
        one = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
    elif copy is None:
        one.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())
    else:
        start = (tensor.data_ptr() - address) // tensor.element_size()
        one.set_(copy.untyped_storage(), start, tensor.shape, tensor.stride())
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(one, tensor.requires_grad)
    return one.requires_grad_(tensor.requires_grad)
