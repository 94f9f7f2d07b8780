"""The object graph of a pack: a pickle in which each tensor is only a number.

Unpickling runs code that the pickle names: only a function's own processes may do it.
"""

from __future__ import annotations

import gc
import io
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from glowplug.loader.errors import NotPicklable, NotRebuildable, PackCorrupt
from glowplug.loader.roots import find_roots, join
from glowplug.loader.sets import in_order

if TYPE_CHECKING:
    from torch import Tensor

_PROTOCOL = 5
_DEPTH = 6


class Forbidden(Exception):
    """A skeleton names something that its reader did not allow."""


class TensorTable:
    """The tensors of one object graph, each once, in the order they were met; `references` counts how
    often. `remade` are the objects whose own code puts them together again.
    """

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.references: list[int] = []
        self.remade: list[object] = []
        self._numbers: dict[int, int] = {}

    def number_of(self, tensor: Tensor) -> int:
        """Raises NotPicklable for a tensor that is not plain memory of this process."""
        number = self._numbers.get(id(tensor))
        if number is None:
            _check(tensor)
            number = self._numbers[id(tensor)] = len(self.tensors)
            self.tensors.append(tensor)
            self.references.append(0)
        self.references[number] += 1
        return number


def _check(tensor: Tensor) -> None:
    import torch

    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        reason = f"it is a {type(tensor).__qualname__}; only plain tensors and parameters are"
    elif tensor.device.type != "cpu":
        reason = f"it lies on {tensor.device}; move the module to the CPU first"
    elif tensor.layout != torch.strided:
        reason = f"its layout is {tensor.layout}; call .to_dense() first"
    elif tensor.is_quantized or tensor.is_nested:
        reason = "it is quantized" if tensor.is_quantized else "it is nested"
    elif tensor.is_conj() or tensor.is_neg():
        reason = "it is a lazy conjugate or negative; call .resolve_conj().resolve_neg() first"
    else:
        return
    raise NotPicklable(f"a tensor of dtype {tensor.dtype} cannot be packed: {reason}")


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, table: TensorTable) -> None:
        import torch

        super().__init__(file, protocol=_PROTOCOL)
        self._tensor_type = torch.Tensor
        self._table = table
        self._sets: dict[int, tuple[int, object]] = {}
        self._remaking: dict[type, bool] = {}

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, self._tensor_type):
            return self._table.number_of(obj)
        kind = type(obj)
        if kind not in self._remaking:
            self._remaking[kind] = _remakes(kind)
        if self._remaking[kind]:
            self._table.remade.append(obj)
        # The order of a set differs between processes, and equal content must give equal bytes.
        if (kind is set or kind is frozenset) and len(obj) > 1:
            items = in_order(obj)
            if items is not None:
                number, _ = self._sets.setdefault(id(obj), (len(self._sets), obj))
                return (number if kind is set else ~number, *items)
        return None


def _remakes(kind: type) -> bool:
    """Whether unpickling such an object runs code of its class, which may keep tensors where none were."""
    return any(
        not vars(base).keys().isdisjoint(("__setstate__", "__reduce__", "__reduce_ex__"))
        for base in kind.__mro__
        if (package := base.__module__.partition(".")[0]) != "torch"
        and package not in sys.stdlib_module_names
    )


_HARMLESS = frozenset({
    ("collections", "OrderedDict"), ("builtins", "set"), ("builtins", "frozenset"), ("builtins", "slice"),
    ("builtins", "complex"), ("builtins", "bytearray"), ("builtins", "range"), ("torch", "Size"),
    ("torch", "device"), ("torch.serialization", "_get_layout"),
})  # fmt: skip
"""Beside the modules of torch.nn: what pickles of modules name, and no call of which does anything."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, tensors: Sequence[Tensor], only: Sequence[str] | None) -> None:
        super().__init__(file)
        self._tensors = tensors
        self._only = only
        self._sets: dict[int, set[Any] | frozenset[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if self._only is not None and (module, name) not in _HARMLESS:
            allowed = ("torch.nn.modules", *self._only)
            found = super().find_class(module, name) if _within(module, allowed) else None
            # A name may lead on through what its module imported: the class itself must be one of these.
            if not isinstance(found, type) or not _within(found.__module__, allowed):
                raise Forbidden(f"its skeleton names {module}.{name}, which is not among what was allowed")
            return found
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        if type(pid) is int:
            return self._tensors[pid]
        return self._sets.setdefault(pid[0], (set if pid[0] >= 0 else frozenset)(pid[1:]))


def _within(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def dump(obj: object) -> tuple[bytes, TensorTable]:
    """Returns (skeleton, the table of its tensors).

    Raises NotPicklable.

    What pickle does not carry is not kept: gradients, autograd history, hooks on tensors.
    """
    table = TensorTable()
    file = io.BytesIO()
    pickler = _Pickler(file, table)
    try:
        pickler.dump(obj)
        done = 0
        # Attributes of tensors (nn.Buffer has some) follow, for a number cannot carry them.
        while True:
            fresh = range(done, len(table.tensors))
            done = len(table.tensors)
            attributes = {t: vars(table.tensors[t]) for t in fresh if vars(table.tensors[t])}
            pickler.dump(attributes)
            if not attributes:
                break
    except NotPicklable as error:
        raise NotPicklable(f"{_culprit(obj, type(obj).__qualname__)}: {error}") from error
    except Exception as error:
        if (parametrized := _parametrized(obj)) is not None:
            raise NotPicklable(*parametrized) from error
        # __reduce__ and __getstate__ of any class may raise anything.
        reason = str(error) or type(error).__name__
        raise NotPicklable(f"{_culprit(obj, type(obj).__qualname__)} cannot be pickled: {reason}") from error
    return file.getvalue(), table


def _parametrized(obj: object) -> tuple[str, str] | None:
    """(which module torch refuses to pickle, for it computes its weights from others; what to do)."""
    from torch.nn.utils.parametrize import is_parametrized

    for path, root in find_roots(obj).items():
        for name, module in root.named_modules():
            if is_parametrized(module):
                where = join(type(obj).__qualname__, join(path, name))
                weights = list(module.parametrizations._modules)
                remove = ", ".join(f'remove_parametrizations(module, "{weight}")' for weight in weights)
                # weight_norm leaves one behind that is a local function.
                clear = ", module._load_state_dict_pre_hooks.clear()"
                fact = (
                    f"{where} cannot be pickled: it is parametrized ({', '.join(weights)}), and torch "
                    "pickles no such module"
                )
                remedy = (
                    f"; first call {remove} of torch.nn.utils.parametrize"
                    f"{clear if module._load_state_dict_pre_hooks else ''}; or save its state_dict() as "
                    ".safetensors, and load that with build="
                )
                return fact, remedy
    return None


def load(skeleton: bytes, tensors: Sequence[Tensor], path: str, only: Sequence[str] | None = None) -> object:
    """Rebuilds the object graph around `tensors`. `path` is named in errors. With `only`, nothing is imported
    but the classes of torch.nn's modules and of these modules and packages.

    Raises NotRebuildable when a class cannot be imported, is not allowed, or refuses its state,
    PackCorrupt for anything else.
    """
    unpickler = _Unpickler(io.BytesIO(skeleton), tensors, only)
    try:
        with _gc_paused():
            obj: object = unpickler.load()
            while attributes := unpickler.load():
                for number, values in attributes.items():
                    vars(tensors[number]).update(values)
    except Forbidden as error:
        raise NotRebuildable(f"{path} is not rebuilt: {error}") from error
    except (ImportError, AttributeError) as error:
        raise NotRebuildable(
            f"{path} cannot be rebuilt here: {error}. The modules of its classes must be importable; "
            "a class of a script that ran as __main__ is found by no other process: move it to a module"
        ) from error
    except (pickle.UnpicklingError, EOFError, IndexError) as error:
        raise PackCorrupt(f"{path}: the skeleton cannot be read: {error}") from error
    except Exception as error:
        raise NotRebuildable(f"{path} cannot be rebuilt here: {type(error).__name__}: {error}") from error
    return obj


@contextmanager
def waiting(wait: Callable[[], object]) -> Iterator[None]:
    """Calls `wait` before any torch function in this block: what rebuilds an object may compute on tensors
    whose bytes are still on their way."""
    from torch.overrides import TorchFunctionMode

    class Wait(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            # Reading an attribute (.dtype, .shape) is no use of the data.
            if getattr(func, "__name__", "") != "__get__":
                wait()
            return func(*args, **(kwargs or {}))

    with Wait():
        yield


@contextmanager
def _gc_paused() -> Iterator[None]:
    # Thousands of new containers would set off full collections over all that torch's import left behind.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _culprit(obj: object, path: str, depth: int = _DEPTH) -> str:
    """The path of the innermost part of `obj` that cannot be pickled by itself."""
    children: dict[str, object] = {}
    if isinstance(obj, dict):
        children = {f"{path}[{key!r}]": value for key, value in obj.items()}
    elif isinstance(obj, (list, tuple)):
        children = {f"{path}[{index}]": value for index, value in enumerate(obj)}
    elif hasattr(obj, "__dict__") and not isinstance(obj, type):
        children = {f"{path}.{name}": value for name, value in vars(obj).items()}
    for name, child in children.items():
        try:
            _Pickler(io.BytesIO(), TensorTable()).dump(child)
        except Exception:
            return _culprit(child, name, depth - 1) if depth else name
    return path
