"""Watching one run of a model: the order in which tensors are used, how long modules take, arguments."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import msgspec

from glowplug.loader.prime import Prime, PrimeCall, snapshot
from glowplug.loader.roots import find_roots, join

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.utils.hooks import RemovableHandle

_MAX_CALLS = 8
"""An object whose parts are called one by one gives many outermost calls; the first ones warm up most."""


class Trace:
    """What was seen. Complete once its context has ended.

    `order` holds every parameter and buffer once: used ones first, in order of first use, the others after.
    `compute_s` is seconds by module path, without the seconds of the modules inside it.
    """

    def __init__(self) -> None:
        self.order: list[Tensor] = []
        self.compute_s: dict[str, float] = {}
        self.prime: Prime | None = None


class _Frame(msgspec.Struct):
    path: str
    started_s: float
    inner_s: float = 0.0


class _Recorder:
    """Fed by the hooks; `known` are the ids of the tensors that count."""

    def __init__(self, trace: Trace, known: set[int]) -> None:
        self._trace = trace
        self._known = known
        self._stack: list[_Frame] = []
        self._calls: dict[str, PrimeCall | None] = {}
        self._thread = threading.get_ident()

    def used(self, values: Any) -> None:
        for value in values:
            if id(value) in self._known:
                self._known.discard(id(value))
                self._trace.order.append(value)
            elif type(value) in (list, tuple):
                self.used(value)

    def enter(self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() != self._thread:
            return
        if not self._stack and path not in self._calls and len(self._calls) < _MAX_CALLS:
            self._calls[path] = snapshot(path, args, kwargs)
        self._stack.append(_Frame(path, time.perf_counter()))

    def leave(self, module: Module) -> None:
        if threading.get_ident() != self._thread:
            return
        frame = self._stack.pop()
        took_s = time.perf_counter() - frame.started_s
        seconds = self._trace.compute_s
        seconds[frame.path] = seconds.get(frame.path, 0.0) + took_s - frame.inner_s
        if self._stack:
            self._stack[-1].inner_s += took_s
        # What a scripted or fused module uses is not seen; it was executed all the same.
        self.used(module.parameters(recurse=False))
        self.used(module.buffers(recurse=False))

    def finish(self, everything: list[Tensor]) -> None:
        self.used(everything)
        calls = tuple(call for call in self._calls.values() if call is not None)
        self._trace.prime = Prime(calls) if calls else None


@contextmanager
def trace(obj: object) -> Iterator[Trace]:
    """Watches what this thread does with the modules in `obj` until the block ends, also by an exception.

    with trace(model) as seen: model(x)

    Afterwards nothing of it is left on the modules. One trace of an object at a time.
    """
    from torch.overrides import TorchFunctionMode

    roots = find_roots(obj)
    everything = [t for root in roots.values() for t in (*root.parameters(), *root.buffers())]
    seen = Trace()
    recorder = _Recorder(seen, {id(tensor) for tensor in everything})

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            # Reading an attribute (.dtype, .shape) is no use of the data.
            if getattr(func, "__name__", "") != "__get__":
                recorder.used(args)
                if kwargs:
                    recorder.used(kwargs.values())
            return func(*args, **(kwargs or {}))

    handles: list[RemovableHandle] = []
    hooked: set[Module] = set()
    try:
        for path, root in roots.items():
            for name, module in root.named_modules(hooked):
                handles += _hook(recorder, join(path, name), module)
        with eagerly(), Watch():
            yield seen
    finally:
        for handle in handles:
            handle.remove()
        recorder.finish(everything)


def eagerly() -> AbstractContextManager[Any]:
    """What torch.compile made runs as it was written: compiled code has no modules that could be watched."""
    import torch

    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and it takes seconds to import
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def _hook(recorder: _Recorder, path: str, module: Module) -> list[RemovableHandle]:
    def before(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        recorder.enter(path, args, kwargs)

    def after(module: Module, *_: object) -> None:
        recorder.leave(module)

    try:
        return [
            module.register_forward_pre_hook(before, prepend=True, with_kwargs=True),
            module.register_forward_hook(after, always_call=True, with_kwargs=True),
        ]
    except RuntimeError:
        # Scripted modules take no such hooks; their tensors keep the order in which the module lists them.
        return []
