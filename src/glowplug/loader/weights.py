"""Weights files as people have them: reading one, and fitting it to a module."""

from __future__ import annotations

import pickle
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from glowplug.loader.errors import WeightsMismatch, WeightsUnreadable
from glowplug.loader.roots import held_tensors
from glowplug.loader.sharing import give, overwritten, sharing, takes

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

T = TypeVar("T")

TORCH_SUFFIXES = (".pt", ".pth", ".bin")
_WRAPPERS = ("state_dict", "model_state_dict", "model")
PARALLEL_PREFIX = "module."
"""What DataParallel and DistributedDataParallel put before every name."""


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name. Safetensors and zipped torch files are mapped, not copied; no code in the file runs.

    A checkpoint that wraps its tensors as `state_dict`, `model_state_dict` or `model` is unwrapped.
    Raises WeightsUnreadable.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix != ".safetensors" and suffix not in TORCH_SUFFIXES:
        known = ", ".join((".safetensors", *TORCH_SUFFIXES))
        raise WeightsUnreadable(
            f"{file}: the suffix {suffix!r} is none of {known}; rename or convert the file"
        )
    if not file.is_file():
        raise WeightsUnreadable(f"{file}: there is no such file at {file.absolute()}; check the path")
    return _read_safetensors(file) if suffix == ".safetensors" else _read_torch(file)


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise WeightsUnreadable(
            f"{file} is truncated or no safetensors file ({error}); download or save it again"
        ) from error


def _read_torch(file: Path) -> dict[str, Tensor]:
    import torch

    try:
        # Files from before torch 1.6 are no zip and cannot be mapped.
        mapped = zipfile.is_zipfile(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        first = str(error).strip().splitlines()[0]
        raise WeightsUnreadable(
            f"{file} is damaged, or holds more than tensors and is not loaded because it could run code "
            f"({first}); save model.state_dict() only, best as .safetensors"
        ) from error
    except Exception as error:
        # A damaged pickle or archive can make the reader fail in any way.
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise WeightsUnreadable(
            f"{file} is truncated or no torch weights file ({reason[0]}); download or save it again"
        ) from error
    return unwrap(loaded, file, torch.Tensor)


def unwrap(loaded: Any, path: str | Path, kind: type[T]) -> dict[str, T]:
    """Tensors by name, each a `kind`, from what wraps them in a checkpoint. Raises WeightsUnreadable."""
    for inner in (loaded, *(loaded.get(key) for key in _WRAPPERS if isinstance(loaded, Mapping))):
        if isinstance(inner, Mapping) and inner and all(isinstance(v, kind) for v in inner.values()):
            return {str(name): tensor for name, tensor in inner.items()}
    found = (
        f"a dict with the keys {list(loaded)[:8]}"
        if isinstance(loaded, Mapping)
        else f"a {type(loaded).__name__}"
    )
    raise WeightsUnreadable(f"{path} holds {found}, no tensors by name; save model.state_dict()")


def assign(module: Module, state_dict: Mapping[str, Tensor], path: str | Path) -> None:
    """Makes `state_dict` the tensors of `module`, without a copy; `path` is named in errors.

    Every name, shape and dtype is checked before anything is changed. The module's tensors stay the objects
    that they are, for all that hold them, unless they are on meta; where a view of one is held, its memory
    stays too, and gets a copy. Parameters keep their requires_grad; names that are tied in the module stay
    tied, and the file may hold only one of them. Buffers that the module does not save may be missing, and
    so may the batch counters, which old files lack.

    Raises WeightsMismatch with a line per problem.
    """
    import torch

    expected: dict[str, Any] = module.state_dict(keep_vars=True)
    given = _without_parallel_prefix(state_dict, expected)
    tied: defaultdict[int, list[str]] = defaultdict(list)
    for name, tensor in expected.items():
        tied[id(tensor)].append(name)
    transient = {name for name, _ in module.named_buffers()} - expected.keys()

    problems = [
        _unexpected(name, given[name]) for name in given if name not in expected and name not in transient
    ]
    fitting: list[tuple[list[str], Any, Any]] = []
    for names in tied.values():
        present = [name for name in names if name in given]
        own = expected[names[0]]
        problems += [line for name in present if (line := _misfit(name, own, given[name]))]
        if not present and not names[0].endswith("num_batches_tracked"):
            problems.append(f"{names[0]}: missing; the module has {_describe(own)}")
        problems += [line for name in present[1:] if (line := _untied(present[0], name, given))]
        fitting.append((names, own, given[present[0]] if present else own))
    if problems:
        raise WeightsMismatch(str(path), problems)
    chosen = _given(module, fitting, path)
    inference = any(isinstance(one, torch.Tensor) and one.is_inference() for one in chosen.values())
    with torch.inference_mode(inference or torch.is_inference_mode_enabled()):
        module.load_state_dict(chosen, strict=True, assign=True)


def _given(module: Module, fitting: Sequence[tuple[list[str], Any, Any]], path: str | Path) -> dict[str, Any]:
    """What stands under each name from now on: the module's own tensor with the value that was given, where
    it can have that. Raises WeightsMismatch."""
    import torch

    owns = [own for _, own, _ in fitting if isinstance(own, torch.Tensor)]
    shared = sharing([*owns, *(tensor for _, _, tensor in held_tensors(module))])
    copied = [
        (names[0], own, value)
        for names, own, value in fitting
        if id(own) in shared and own is not value and takes(own, value) and own.device == value.device
    ]
    lost = overwritten([(own, value) for _, own, value in copied])
    if lost:
        why = "shares its memory with another one in the module, for which the file has other values"
        raise WeightsMismatch(str(path), [f"{copied[number][0]}: {why}" for number in lost])
    chosen: dict[str, Any] = {}
    for names, own, value in fitting:
        kept = own is value or (isinstance(own, torch.Tensor) and give(own, value, shared=id(own) in shared))
        chosen.update(dict.fromkeys(names, own if kept else _as_parameter(value, own)))
    return chosen


def _without_parallel_prefix(
    given: Mapping[str, Tensor], expected: Mapping[str, Any]
) -> Mapping[str, Tensor]:
    if (
        given
        and all(name.startswith(PARALLEL_PREFIX) for name in given)
        and not any(n in expected for n in given)
    ):
        return {name.removeprefix(PARALLEL_PREFIX): tensor for name, tensor in given.items()}
    return given


def _as_parameter(value: Any, own: Any) -> Any:
    import torch

    if isinstance(own, torch.nn.Parameter):
        return torch.nn.Parameter(value.detach(), requires_grad=own.requires_grad)
    return value


def _unexpected(name: str, value: Tensor) -> str:
    return f"{name}: unexpected; the file has {_describe(value)}, the module nothing of this name"


def _misfit(name: str, own: Any, value: Any) -> str | None:
    import torch

    both = isinstance(own, torch.Tensor) and isinstance(value, torch.Tensor)
    if both and (own.shape != value.shape or own.dtype != value.dtype):
        return f"{name}: the module has {_describe(own)}, the file {_describe(value)}"
    return None


def _untied(first: str, second: str, given: Mapping[str, Tensor]) -> str | None:
    import torch

    one, other = given[first], given[second]
    if one.shape != other.shape or one.dtype != other.dtype:
        return None  # named as a misfit already
    if one.data_ptr() == other.data_ptr() or torch.equal(one, other):
        return None
    return f"{second}: is tied to {first} in the module, but the file has other values for it"


def _describe(value: Any) -> str:
    import torch

    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
