"""The three calls that most people need."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glowplug.loader.arbiter import Priority
from glowplug.loader.arena import NO_ARENA, Arena
from glowplug.loader.construct import require_module, without_init
from glowplug.loader.contents import no_checksums
from glowplug.loader.destination import IN_FLIGHT_BYTES
from glowplug.loader.devices import device as device_called
from glowplug.loader.info import PackInfo
from glowplug.loader.pipeline import Build, Loading, begin
from glowplug.loader.rehearsal import copied, make_lazy_ones, rehearse
from glowplug.loader.roots import modules_of
from glowplug.loader.sources import open_source
from glowplug.loader.strategies import AUTO
from glowplug.loader.strategies import strategy as strategy_called
from glowplug.loader.terms import priority_like, require_terms
from glowplug.loader.weights import TORCH_SUFFIXES, assign, read_state_dict
from glowplug.loader.writer import write_pack

if TYPE_CHECKING:
    import torch


def pack(model: Any, example_input: Any, path: str | Path) -> PackInfo:
    """Writes `model` to `path` as it is, its weights in the order in which it uses them on `example_input`.

    Copies of it run, in evaluation mode, one to pay for kernels and memory, one to be measured: they have the
    memory of its parameters, and what else a pass changes is theirs, of which there is one copy at a time.
    Each pass has a copy of `example_input`. Only if parts of it are lazy the model is run once itself, which
    makes their parameters. A tuple is taken as positional arguments, a dict as keyword
    arguments, anything else as the one argument. What torch.compile made of a model is packed as that
    model, for who loads it to compile again. Warns of classes that only this script has.
    What was written is read again and checked before it takes the place of a file of that name, and no load
    on this machine has to.
    Raises NotPicklable, NotRebuildable, PackCorrupt (another thread changed a weight meanwhile), OSError, and
    what the model raises.
    """
    model = getattr(model, "_orig_mod", model)
    kinds = {type(model), *map(type, modules_of(model))}
    names = ", ".join(sorted(kind.__qualname__ for kind in kinds if kind.__module__ == "__main__"))
    if names:
        warnings.warn(
            f"{path}: no other process will find {names}, for this script defines it: move it to a module "
            "that can be imported, and pack again",
            stacklevel=2,
        )

    def run(model: Any) -> Any:
        # A mapping of its own kind is taken apart by the call, and so are its values here.
        is_mapping = isinstance(example_input, Mapping)
        return run_on(model, copied(dict(example_input) if is_mapping else example_input))

    make_lazy_ones(model, run)
    seen = rehearse(model, run, str(path))
    return write_pack(
        path, model, order=seen.order, prime=seen.prime, compute_s=seen.compute_s, checked=True
    )  # fmt: skip


def load(
    path: str | Path,
    device: str | torch.device = "cpu",
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
    `in_flight_bytes` under way, or one read and its copy, which does not bound the pages of a mapped file.
    `arena` lends memory that was touched before. A process that is forked meanwhile does not get what is on
    its way, and whoever waits for it there gets LoadStopped; `start_load` tells when all has come. The
    weights of a pack are checked for damage before they are used: what is streamed each time; a local file
    that is mapped once, which reads all of it, and again when it was written to or replaced, or the machine
    restarted. `verify=True` checks it each time, and the weights of a torch file too, by the CRC-32 of its
    archive; False checks nothing.

    Unpickles: only for packs whose makers you trust, or with `only`, the modules and packages that it may
    take classes from beside torch.nn's (`only=()` for none).
    Raises PackTruncated, PackCorrupt, NotRebuildable, WeightsUnreadable, WeightsMismatch, DeviceFull,
    SourceError, OSError; ValueError for an argument that is none, or for `verify` of a file without
    checksums. What goes wrong later is raised by who waits.
    """
    if build is not None and str(device) in ("cpu", "cpu:0") and _is_old_checkpoint(Path(path)):
        strategy_called(strategy)
        priority_like(priority)
        require_terms(weight, in_flight_bytes, only)
        open_source(path, **options).close()
        if verify:
            raise ValueError(no_checksums(str(path)))
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
    device: str | torch.device = "cpu",
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
    require_module(model, build)
    assign(model, state, path)
    return model.eval()


def run_on(model: Any, example_input: Any) -> Any:
    """A tuple as positional arguments, a mapping as named ones, anything else as the one argument."""
    if isinstance(example_input, tuple):
        return model(*example_input)
    if isinstance(example_input, Mapping):
        return model(**example_input)
    return model(example_input)
