"""A bundle becomes an object that answers. Runs in a function's own process, for `.local()` in the user's.

The four ways are ClimbMode's; the phases they take are recorded by the names of core.ladder.PHASES.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glowplug.bundle.manifest import Manifest
from glowplug.core.errors import BuildFailed, WeightsError

if TYPE_CHECKING:
    from glowplug.distributed.stages import Handover
    from glowplug.loader.devices.base import Device
    from glowplug.loader.reader import MappedPack


class Served:
    """A function ready to answer: its callables by endpoint name, and what priming needs.

    `pack` is the open map under its weights (kept open as long as the object lives), or None.
    """

    def __init__(
        self, target: Any, endpoints: dict[str, Callable[..., Any]], pack: MappedPack | None
    ) -> None:
        self.target = target
        self.endpoints = endpoints
        self.pack = pack
        self.routes: Any = None
        """How each endpoint is answered; filled by whoever stages, for all its children."""
        self.handover: Handover | None = None
        """Of a model that is spread over several workers: where the others are connected."""

    def rehearse(self) -> bool:
        """One forward of the model on the inputs traced at deploy, never an endpoint. False without any, and
        for one worker of several that are not connected."""
        if self.handover is not None and self.handover.peer is None:
            return False
        prime = self.pack.prime() if self.pack is not None else None
        if prime is not None:
            prime.run(self.target)
        return prime is not None


class Phases:
    """Seconds by phase, added up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def inference_mode() -> contextlib.AbstractContextManager[Any]:
    """torch.inference_mode() where torch is loaded, else nothing."""
    torch = sys.modules.get("torch")
    return torch.inference_mode() if torch is not None else contextlib.nullcontext()


def find_target(module_name: str, qualname: str, folder: Path) -> Any:
    """Imports the function's source from its bundle and returns its class or callable."""
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
    found: Any = importlib.import_module(module_name)
    if not str(getattr(found, "__file__", "")).startswith(f"{folder}/"):
        raise BuildFailed(f"{module_name}.py: another module has that name; give the file another")
    for name in qualname.split("."):
        found = getattr(found, name)
    return found


def serve_bundle(
    manifest: Manifest,
    bundle: Path,
    packed: Path | int,
    phases: Phases,
    arrivals: int | None = None,
    device: Device | None = None,
) -> Served:
    """Climbs to STAGED in this process; with `arrivals` before the weights are all there
    (loader/arriving.py). `packed` is the pack, or a descriptor of it, which is owned from now on. The
    weights are brought to the `device`.

    Raises what the user's code raises, or WeightsError.
    """
    with phases.phase("import"):
        target = find_target(manifest.declaration.module, manifest.declaration.qualname, bundle / "code")
    if manifest.declaration.kind == "function":
        from glowplug.handles import Handle

        name = manifest.declaration.endpoints[0].name
        return Served(target, {name: target.call if isinstance(target, Handle) else target}, None)
    with phases.phase("fetch"):
        pack = _open(packed, arrivals, manifest.pack_digest) if manifest.pack else None
    if manifest.mode == "skeleton":
        assert pack is not None
        with phases.phase("build"):
            content: Any = pack.load(device=device)
        instance = new_instance(target)
        if "build" in content:
            instance.model = content["build"]
            with phases.phase("build"):
                run_setup(instance)
        else:
            instance.__dict__.update(content["state"])
    else:
        with phases.phase("build"):
            instance = new_instance(target)
            if callable(getattr(target, "build", None)):
                instance.model = build_structure(instance)
            run_setup(instance)
        if pack is not None:
            with phases.phase("apply"):
                assign_packed(instance, pack, device)
    served = Served(instance, bound_endpoints(instance), pack)
    if manifest.parts:
        served.handover = _handover_of(instance)
    return served


def _handover_of(instance: Any) -> Handover | None:
    import torch

    from glowplug.distributed.stages import handover_in

    return handover_in([value for value in vars(instance).values() if isinstance(value, torch.nn.Module)])


def pack_digest(path: Path) -> str:
    """What a manifest says of its pack."""
    from glowplug import loader

    with loader.open_pack(path) as pack:
        return pack.info.digest


def _open(path: Path | int, arrivals: int | None, digest: str) -> MappedPack:
    """Before anything in it is run: one that still arrives has its name's SHA-256 only when it is whole."""
    from glowplug import loader

    try:
        pack = loader.open_pack(path, arrivals)
        if digest not in ("", pack.info.digest):
            pack.close()
            raise loader.PackCorrupt("the artifact store has something else under its name")
        return pack
    except (OSError, loader.LoaderError) as error:
        raise WeightsError(
            f"the packed weights cannot be mapped: {error}; deploy the function again"
        ) from error


def new_instance(target: type) -> Any:
    """An instance by its own __init__, which takes no arguments."""
    try:
        return target()
    except TypeError as error:
        raise BuildFailed(f"{target.__qualname__}() must be callable without arguments: {error}") from error


def build_structure(instance: Any) -> Any:
    """Runs build() without random initialisation and checks what it returns."""
    import torch

    from glowplug import loader

    with loader.without_init():
        model = instance.build()
    if not isinstance(model, torch.nn.Module):
        raise BuildFailed(
            f"{type(instance).__qualname__}.build() returned {type(model).__name__}, not a torch.nn.Module"
        )
    return model.eval()


def run_setup(instance: Any) -> None:
    if callable(getattr(instance, "setup", None)):
        instance.setup()


def assign_packed(instance: Any, pack: MappedPack, device: Device | None = None) -> None:
    """Swaps the tensors of the modules on `instance` for the mapped ones; shapes and names must agree."""
    from glowplug import loader

    try:
        content: Any = pack.load(device=device)
        for name, state in content["states"].items():
            loader.assign(getattr(instance, name), state, "the bundle's pack")
            getattr(instance, name).eval()
    except loader.WeightsMismatch as error:
        raise WeightsError(str(error)) from error


def bound_endpoints(instance: Any) -> dict[str, Callable[..., Any]]:
    """Every @endpoint of the instance's class, bound, in order of declaration."""
    from glowplug.handles import endpoints_of

    return {name: e.method.__get__(instance) for name, e in endpoints_of(type(instance)).items()}


_LOCAL: dict[type, Any] = {}


def local_instance(owner: type) -> Any:
    """The instance that `.local()` calls use in this process: built and loaded once, without a bundle."""
    if owner not in _LOCAL:
        from glowplug.bundle.builder import load_from_source

        # None in a notebook, or where Python reads what is typed: their folder is the working one.
        source = getattr(sys.modules.get(owner.__module__), "__file__", None)
        _LOCAL[owner] = load_from_source(owner, Path(source or ".").parent)
    return _LOCAL[owner]
