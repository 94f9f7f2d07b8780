"""Packs of a model that is spread over several workers: one for each, and a proof that they answer together
as the whole model does.

Runs in the build's own process, which has the whole model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from glowplug.bundle.instantiate import inference_mode
from glowplug.core.specs import AS_NEEDED, MOST_WORKERS, Declaration
from glowplug.distributed.errors import CannotCut

if TYPE_CHECKING:
    from torch.nn import Module

    from glowplug.distributed.stages import Handover, Stage
    from glowplug.loader.prime import Prime
    from glowplug.loader.reader import MappedPack

Answers = Callable[[Any, "Prime"], list[Any]]


class GangPacks(msgspec.Struct, frozen=True):
    """`blocks` are those of workers 1, 2, ... by their paths in the model."""

    weight_bytes: int
    blocks: tuple[tuple[str, ...], ...]


def is_spread(modules: dict[str, Module], declaration: Declaration) -> bool:
    """Whether a model is to have several workers: as declared, or because one cannot hold it."""
    if declaration.workers != AS_NEEDED:
        return declaration.workers > 1
    if not modules:
        return False
    from glowplug.distributed.chains import module_bytes

    return sum(map(module_bytes, modules.values())) > declaration.memory_bytes


def part_path(pack: Path, worker: int) -> Path:
    """Where a build leaves the pack of a worker; `pack` is the head's."""
    return pack.with_name(f"{pack.name}-{worker}")


def write_packs(
    instance: Any,
    modules: dict[str, Module],
    declaration: Declaration,
    path: Path,
    run: Callable[[], object],
    answers: Answers,
    equal: Callable[[Any, Any], bool],
) -> GangPacks:
    """Cuts the one model of `instance` for the declared workers or as few as can hold it; writes their packs.

    `run` makes it answer its example; `answers` calls an object's modules as recorded. Raises CannotCut in
    words, and what the model raises.
    """
    from glowplug import loader
    from glowplug.distributed.cutting import cut_model, cut_to_fit

    if len(modules) != 1:
        names = ", ".join(modules) or "none"
        raise CannotCut(f"only one model is spread over workers, and here are: {names}")
    has_build = callable(getattr(instance, "build", None))
    if declaration.secrets and not has_build:
        raise CannotCut(
            "setup() may leave a secret on the instance, which would be packed: give it a build()"
        )
    with inference_mode(), loader.trace(instance) as traced:
        run()
    if traced.prime is None:
        raise CannotCut("its example() does not call its model with arguments that can be kept")
    with inference_mode():
        whole, again = (answers(instance, traced.prime) for _ in range(2))
    (model,) = modules.values()
    limit_bytes = declaration.memory_bytes
    if declaration.workers == AS_NEEDED:
        cut = cut_to_fit(model, run, MOST_WORKERS, limit_bytes)
    else:
        cut = cut_model(model, run, declaration.workers, limit_bytes)
    content = {"build": model} if has_build else {"state": dict(vars(instance))}
    try:
        info = loader.write_pack(path, content, order=traced.order, prime=traced.prime)
        for worker, stage in enumerate(cut.stages, 1):
            loader.write_pack(part_path(path, worker), {"stage": stage}, order=traced.order)
    except loader.NotPicklable as error:
        raise CannotCut(f"a model over several workers has to be pickled, and {error}") from error
    together = _answers_together(path, 1 + len(cut.stages), traced.prime, answers)
    if not equal(whole, together) and equal(whole, again):
        raise CannotCut("cut, it does not answer its example as the whole model does")
    return GangPacks(info.weights_nbytes, tuple(cut.blocks[1:]))


def _answers_together(path: Path, workers: int, prime: Prime, answers: Answers) -> list[Any]:
    """What the packs answer, loaded again and connected in this process."""
    from types import SimpleNamespace

    from glowplug import loader
    from glowplug.distributed.stages import handover_in

    parts = [part_path(path, worker) for worker in range(1, workers)]
    try:
        with loader.open_pack(path) as pack:
            content: Any = pack.load()
            head = SimpleNamespace(
                **(content["state"] if "state" in content else {"model": content["build"]})
            )
            modules = [content["build"]] if "build" in content else _modules_of(content["state"])
            packs = connect_here(handover_in(modules), parts)
            try:
                with inference_mode():
                    return answers(head, prime)
            finally:
                for each in packs:
                    each.close()
    except loader.NotRebuildable as error:
        raise CannotCut(f"a model over several workers has to be pickled: {error}") from error
    except TypeError as error:
        raise CannotCut(f"something looks at what passes between its blocks: {error}") from error


def _modules_of(state: dict[str, Any]) -> list[Any]:
    import torch

    return [value for value in state.values() if isinstance(value, torch.nn.Module)]


def connect_here(handover: Handover | None, parts: Sequence[Path]) -> list[MappedPack]:
    """Loads all parts into this process, for a head's stand-ins. Returns their packs."""
    from glowplug.distributed.stages import Together

    assert handover is not None
    packs, stages = [], []
    for path in parts:
        pack, stage = load_stage(path)
        packs.append(pack)
        stages.append(stage)
    handover.peer = Together(stages)
    return packs


def load_stage(path: Path) -> tuple[MappedPack, Stage]:
    """One worker's part of a model. Raises what loader.open_pack and its load do."""
    from glowplug import loader

    pack = loader.open_pack(path)
    content: Any = pack.load()
    return pack, content["stage"]
