"""Makes a bundle's pack: runs in the function's own process, under its own user, at deploy.

load_from_source -> trace example() -> write_pack -> load the pack again -> answers must be equal
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec

from glowplug.bundle.buffers import buffers_kept
from glowplug.bundle.gangs import is_spread, write_packs
from glowplug.bundle.instantiate import (
    bound_endpoints,
    build_structure,
    find_target,
    inference_mode,
    new_instance,
    run_setup,
)  # fmt: skip
from glowplug.bundle.manifest import ClimbMode
from glowplug.bundle.provenance import loaded
from glowplug.core.errors import BuildFailed, WeightsError
from glowplug.core.specs import Declaration
from glowplug.endpoints import answer_one

if TYPE_CHECKING:
    from glowplug.loader.prime import Prime


class BuildResult(msgspec.Struct, frozen=True):
    """`pack` is whether a pack was written; `reason` says in words why `mode` is not the fastest one.
    `blocks` are those of workers 1, 2, ... of a model over several, each of which has a pack (gangs.py)."""

    mode: ClimbMode
    pack: bool
    reason: str = ""
    primed: bool = False
    weight_bytes: int = 0
    build_s: float = 0.0
    blocks: tuple[tuple[str, ...], ...] = ()
    kernels: bytes = b""
    """Of a model on a device: what a pass loads there (loader/devices/kernels.py)."""
    built_with: dict[str, str] = {}


def build_bundle(declaration: Declaration, code: Path, pack_path: Path) -> BuildResult:
    """Builds the function in `code` and writes its pack. Raises UserErrors and what user code raises."""
    start = time.perf_counter()
    target = find_target(declaration.module, declaration.qualname, code)
    if declaration.kind == "function":
        build_s = time.perf_counter() - start
        return BuildResult("code", False, build_s=build_s, built_with=loaded())
    instance = load_from_source(target, code, declaration.weights)
    modules = _modules(instance)
    if is_spread(modules, declaration):
        result = _pack_gang(instance, declaration, pack_path)
    elif modules:
        result = _pack(instance, declaration, pack_path)
    else:
        result = BuildResult("setup", False, _NO_MODULES)
    return msgspec.structs.replace(result, build_s=time.perf_counter() - start, built_with=loaded())


_EXAMPLE_ITEMS = 8
"""Of a stream, so many items are enough to see in which order weights are used."""
_NO_MODULES = "setup() leaves no torch module on the instance, so it runs again at each climb from imported"


def load_from_source(target: type, folder: Path, weights: Any = None) -> Any:
    """An instance with its model built and its weights loaded, as written, without a pack. `weights` come
    before those that the class was declared with where it is written."""
    instance = new_instance(target)
    if callable(getattr(target, "build", None)):
        declared = getattr(target, "__glowplug__", None)
        if weights is None and declared is not None:
            weights = declared.weights
        if weights is None:
            instance.model = _checked(instance.build(), target)
        else:
            instance.model = build_structure(instance)
            _load_weights(instance.model, weights, folder)
    run_setup(instance)
    modules = _modules(instance).values()
    if modules:
        from glowplug.loader.alignment import settle

        settle(modules)
    for module in modules:
        module.eval()
    return instance


def _checked(model: Any, target: type) -> Any:
    import torch

    if not isinstance(model, torch.nn.Module):
        raise BuildFailed(
            f"{target.__qualname__}.build() returned {type(model).__name__}, not a torch.nn.Module"
        )
    return model.eval()


def _load_weights(model: Any, weights: Any, folder: Path) -> None:
    from glowplug import loader

    found = weights() if callable(weights) else weights
    try:
        if isinstance(found, dict):
            loader.assign(model, found, "the weights callable")
        else:
            path = folder / Path(found)
            if not path.is_file():
                raise WeightsError(f"no weights file {found}: weights= is a path beside the source file")
            loader.assign(model, loader.read_state_dict(path), str(Path(found).name))
    except loader.LoaderError as error:
        raise WeightsError(str(error)) from error
    _refuse_meta(model)


def _refuse_meta(model: Any) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise WeightsError(
                f"tensor {name} has no data: the weights do not hold it and build() made it on meta"
            )


def _modules(instance: Any) -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    return {name: value for name, value in vars(instance).items() if isinstance(value, torch.nn.Module)}


def _pack(instance: Any, declaration: Declaration, path: Path) -> BuildResult:
    from glowplug import loader

    on_device = declaration.device != "cpu"
    has_build = callable(getattr(instance, "build", None))
    with inference_mode(), loader.trace(instance) as traced:
        _run_example(instance)
    primed = traced.prime is not None
    content = {"build": instance.model} if has_build else {"state": dict(vars(instance))}
    if declaration.secrets and not has_build:
        reason = "it may leave a secret on the instance, and a pack outlives those and is read by others"
    else:
        try:
            info = loader.write_pack(path, content, order=traced.order, prime=traced.prime)
            if traced.prime is None or _answers_alike(instance, path, traced.prime):
                return BuildResult(
                    "skeleton", True, primed=primed, weight_bytes=info.weights_nbytes,
                    kernels=_kernels(instance, traced.prime, on_device=on_device),
                )  # fmt: skip
            reason = "it answers differently after pickling"
        except loader.NotPicklable as error:
            reason = f"it cannot be pickled ({error.fact})"
        except loader.NotRebuildable as error:
            reason = f"it cannot be pickled ({error})"
    states = {name: module.state_dict() for name, module in _modules(instance).items()}
    info = loader.write_pack(path, {"states": states}, order=traced.order, prime=traced.prime)
    method = "build" if has_build else "setup"
    mode: ClimbMode = "construct" if has_build else "setup"
    why = f"{method}() runs again at each climb from imported: {reason}"
    return BuildResult(
        mode, True, why, primed, info.weights_nbytes,
        kernels=_kernels(instance, traced.prime, on_device=on_device),
    )  # fmt: skip


def _kernels(instance: Any, prime: Prime | None, *, on_device: bool) -> bytes:
    """A record of what the calls of `prime` compute; empty where nobody needs it, or the model lets nobody
    watch. Once the pack is written, for a pass may change what is packed."""
    from glowplug.loader.devices import kernels

    if prime is None or not on_device:
        return b""
    try:
        return kernels.record(lambda: prime.run(instance))
    except Exception:
        # The user's modules ran before, unwatched, and may raise anything now: this is only a gain.
        return b""


def _pack_gang(instance: Any, declaration: Declaration, path: Path) -> BuildResult:
    found = write_packs(
        instance, _modules(instance), declaration, path, lambda: _run_example(instance), _answers, equal
    )
    return BuildResult("skeleton", True, "", True, found.weight_bytes, blocks=found.blocks)


def _run_example(instance: Any) -> None:
    example = getattr(instance, "example", None)
    if not callable(example):
        return
    arguments = example()
    if not isinstance(arguments, dict):
        raise BuildFailed(
            f"example() returned {type(arguments).__name__}: return the first endpoint's arguments as a dict"
        )
    from glowplug.handles import endpoints_of

    name, call = next(iter(bound_endpoints(instance).items()))
    answer = answer_one(call, endpoints_of(type(instance))[name].spec, arguments)
    if isinstance(answer, Iterator):
        for _ in islice(answer, _EXAMPLE_ITEMS):
            pass


def _answers_alike(instance: Any, path: Path, prime: Prime) -> bool:
    """Whether the pack, loaded again, answers as the original does, bit for bit.

    A model that does not even agree with itself (it draws random numbers) cannot be judged, and passes.
    """
    from glowplug import loader

    with loader.open_pack(path) as pack:
        content: Any = pack.load()
        copy = SimpleNamespace(**(content["state"] if "state" in content else {"model": content["build"]}))
        with inference_mode(), buffers_kept(_modules(instance)):
            first, again, packed = (_answers(held, prime) for held in (instance, instance, copy))
    return equal(first, packed) or not equal(first, again)


def _answers(held: Any, prime: Prime) -> list[Any]:
    from glowplug.loader.roots import resolve

    answers = []
    for call in prime.calls:
        args, kwargs = call.arguments()
        module: Any = resolve(held, call.root)
        answers.append(module(*args, **kwargs))
    return answers


def equal(one: Any, other: Any) -> bool:
    """Whether two nested results hold the same bits in their tensors; all else is not compared."""
    import torch

    if isinstance(one, torch.Tensor):
        same = isinstance(other, torch.Tensor) and one.shape == other.shape and one.dtype == other.dtype
        return same and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(equal(one[k], other[k]) for k in one)
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return True
