"""The packs of a torch model's workers: the head's, and one for each stage."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from glowplug import loader
from glowplug.distributed.chains import Block, module_bytes
from glowplug.distributed.cutting import cut_at, put_back
from glowplug.distributed.errors import CannotCut


def part_name(stage: int) -> str:
    return f"{stage}.pack"


def write_torch_parts(
    model: nn.Module, chain: tuple[Block, ...], starts: tuple[int, ...], folder: Path
) -> list[int]:
    """Of `model`, cut where blocks of its `chain` begin, and whole again afterwards. The bytes of weights of
    each. Raises CannotCut for what cannot be pickled, OSError."""
    cut = cut_at(model, chain, starts)
    try:
        parts: list[nn.Module] = [model, *cut.stages]
        for stage, part in enumerate(parts):
            loader.write_pack(folder / part_name(stage), {"part": part}, durable=False)
        return [module_bytes(part) for part in parts]
    except loader.NotPicklable as error:
        raise CannotCut(f"a model over several workers has to be pickled, and {error}") from error
    finally:
        put_back(model, cut)
