"""The three calls that most people need."""

from __future__ import annotations

import contextlib
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glowplug.loader.arbiter import Priority
from glowplug.loader.arena import NO_ARENA, Arena
from glowplug.loader.construct import without_init
from glowplug.loader.destination import IN_FLIGHT_BYTES
from glowplug.loader.devices import device as device_called
from glowplug.loader.info import PackInfo
from glowplug.loader.pipeline import Build, Loading, begin
from glowplug.loader.reader import open_pack
from glowplug.loader.roots import modules_of
from glowplug.loader.sources import open_source
from glowplug.loader.strategies import AUTO
from glowplug.loader.strategies import strategy as strategy_called
from glowplug.loader.tracing import trace
from glowplug.loader.weights import TORCH_SUFFIXES, assign, read_state_dict
from glowplug.loader.writer import write_pack


def pack(model: Any, example_input: Any, path: str | Path) -> PackInfo:
    """Runs `model` on `example_input` and writes it to `path`, weights in the order of their use.

    It runs twice, and the second time is measured: the first pays for kernels and memory. A tuple is taken as
    positional arguments, a dict as keyword arguments, anything else as the one argument. Warns of
    classes that only this script has. What was written is read again and checked, so that no load on this
    machine has to.
    Raises NotPicklable, PackCorrupt (another thread changed a weight meanwhile), OSError, and what the model
    raises.
    """
    import torch

    kinds = {type(model), *map(type, modules_of(model))}
    names = ", ".join(sorted(kind.__qualname__ for kind in kinds if kind.__module__ == "__main__"))
    if names:
        warnings.warn(
            f"{path}: no other process will find {names}, for this script defines it: move it to a module "
            "that can be imported, and pack again",
            stacklevel=2,
        )
    with torch.inference_mode():
        run_on(model, example_input)
        with trace(model) as seen:
            run_on(model, example_input)
    info = write_pack(path, model, order=seen.order, prime=seen.prime, compute_s=seen.compute_s)
    with contextlib.suppress(OSError), open_pack(path) as written:
        written.check(is_new=True)
    return info


def load(
    path: str | Path,
    device: str = "cpu",
    strategy: str = AUTO,
    *,
    build: Build | None = None,
    priority: Priority = Priority.INTERACTIVE,
    weight: float = 1.0,
    in_flight_bytes: int = IN_FLIGHT_BYTES,
    arena: Arena = NO_ARENA,
    only: Sequence[str] | None = None,
    verify: bool | None = None,
    **options: Any,
) -> Any:
    """The object in a pack, or `build()` with the weights of a safetensors or torch file.

    `path` is a file or an address (`s3://bucket/vgg16.pack`, `https://...`); `options` are its source's, of
    HTTP and every store `retry`, a `Retry`. The object comes back before its weights are there: a pass over
    it overlaps their arrival, and whatever uses a weight that is missing waits for it.

    Strategies that construct the model call `build`; without it a pack's skeleton is unpickled in its place:
    nothing is initialised or applied then; when and how they fetch, and what overlaps, stays. What `build`
    makes has all tensors of the pack, in attributes and lists too, and its modules are in the mode in which
    they were packed; of plain files all are for inference.

    Loads share the line by their class, those of one class by `weight`; this one has at most
    `in_flight_bytes` under way, or one read and its copy. `arena` lends memory that was touched before. Do
    not fork meanwhile; `start_load` tells when it is over. The weights of a pack are checked for damage
    before they are used: what is streamed each time; a local file that is mapped once, which reads all of it,
    and again when it was written to or replaced, or the machine restarted. `verify=True` checks it each time,
    False nothing.

    Unpickles: only for packs whose makers you trust, or with `only`, the modules and packages that it may
    take classes from beside torch.nn's (`only=()` for none).
    Raises PackTruncated, PackCorrupt, NotRebuildable, WeightsUnreadable, WeightsMismatch, DeviceFull,
    SourceError, OSError; ValueError for an unknown name. What goes wrong later is raised by who waits.
    """
    if build is not None and device == "cpu" and _is_old_checkpoint(Path(path)):
        return _load_checkpoint(Path(path), build)
    return start_load(
        path,
        device,
        strategy,
        build=build,
        priority=priority,
        weight=weight,
        in_flight_bytes=in_flight_bytes,
        arena=arena,
        only=only,
        verify=verify,
        **options,
    ).model


def start_load(
    path: str | Path,
    device: str = "cpu",
    strategy: str = AUTO,
    *,
    build: Build | None = None,
    priority: Priority = Priority.INTERACTIVE,
    weight: float = 1.0,
    in_flight_bytes: int = IN_FLIGHT_BYTES,
    arena: Arena = NO_ARENA,
    watched: bool = False,
    only: Sequence[str] | None = None,
    primed: bool = False,
    verify: bool | None = None,
    **options: Any,
) -> Loading:
    """As `load`, for who wants to hear of it: `model`, `wait`, `promote`, `stop`, and `finish` for the
    timeline; `watched` has it tell when each unit was first used, at a small cost to each use. With `primed`
    also `prime`, the calls of the example that it was packed with.
    """
    strategy_called(strategy)  # before anything is opened
    place = device_called(device)
    source = open_source(path, **options)
    return begin(
        source,
        strategy_called(strategy, mappable=source.advice.mappable),
        device=place,
        build=build,
        priority=priority,
        weight=weight,
        in_flight_bytes=in_flight_bytes,
        arena=arena,
        watched=watched,
        only=only,
        primed=primed,
        verify=verify,
    )


def _is_old_checkpoint(path: Path) -> bool:
    """Whether this is a file of torch before 1.6, which is no archive."""
    return path.suffix.lower() in TORCH_SUFFIXES and path.is_file() and not zipfile.is_zipfile(path)


def _load_checkpoint(path: Path, build: Build) -> Any:
    """It says nothing before it is read whole."""
    state = read_state_dict(path)
    with without_init():
        model = build()
    assign(model, state, path)
    return model.eval()


def run_on(model: Any, example_input: Any) -> Any:
    """A tuple as positional arguments, a mapping as named ones, anything else as the one argument."""
    if isinstance(example_input, tuple):
        return model(*example_input)
    if isinstance(example_input, Mapping):
        return model(**example_input)
    return model(example_input)
