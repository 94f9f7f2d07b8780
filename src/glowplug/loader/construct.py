"""Building a module whose weights will be replaced, without drawing random numbers for them first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from glowplug.loader.patching import Patch

_RANDOM_FILLS = frozenset({
    "normal_", "uniform_", "log_normal_", "exponential_", "cauchy_", "geometric_", "bernoulli_", "random_",
    "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_",
    "orthogonal_", "sparse_",
})  # fmt: skip
_UNDISPATCHED = ("trunc_normal_", "_no_grad_trunc_normal_", "orthogonal_", "sparse_")
"""Functions of torch.nn.init that compute more than one fill, and that no torch function mode sees."""
_MARK = "_glowplug_parameter_data"


def _init() -> Any:
    from torch.nn import init

    return init


def _skipping(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def fill(*args: Any, **kwargs: Any) -> Any:
        target = _of_parameter(args, kwargs) if _SKIPPING.inner else None
        return original(*args, **kwargs) if target is None else target

    return fill


_SKIPPING: Patch[None] = Patch(_init, _UNDISPATCHED, _skipping)


def _of_parameter(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a fill would fill, if that is a parameter."""
    import torch

    target = args[0] if args else kwargs.get("tensor")
    return target if isinstance(target, torch.nn.Parameter) or hasattr(target, _MARK) else None


def require_module(model: object, build: Callable[[], object]) -> None:
    """Raises ValueError for what a build should not have made."""
    import torch

    if not isinstance(model, torch.nn.Module):
        name = getattr(build, "__qualname__", type(build).__qualname__)
        raise ValueError(f"build={name} returned a {type(model).__qualname__}, and no torch.nn.Module")


@contextmanager
def without_init() -> Iterator[None]:
    """Random fills of parameters do nothing in this block: parameters hold whatever their memory held.

    All else is done: constant fills, and every value of buffers and plain tensors, for those
    may not come from the weights file. `parameter.data.normal_()` counts as a fill of the parameter.
    Everything is as before when the block ends. Only this thread is in it; others may be in their own.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    data_of, detach = torch.Tensor.data.__get__, torch.Tensor.detach  # type: ignore[attr-defined]

    class SkipFills(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if getattr(func, "__name__", "") in _RANDOM_FILLS:
                target = _of_parameter(args, kwargs)
                if target is not None:
                    return target
            result = func(*args, **kwargs)
            if func in (data_of, detach) and _of_parameter(args, kwargs) is not None:
                setattr(result, _MARK, True)
            return result

    with _SKIPPING.block(None), SkipFills():
        yield
