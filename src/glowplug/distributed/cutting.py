"""Where a chain of blocks is cut, by bytes and FLOPs under a limit, and a model cut there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple

from torch import nn

from glowplug.core.units import show_bytes
from glowplug.distributed.chains import Block, chains_of, module_bytes
from glowplug.distributed.errors import CannotCut, PartTooLarge
from glowplug.distributed.stages import Elsewhere, Handover, Stage


class Cut(NamedTuple):
    """`stages` are those of workers 1, 2, ...; `blocks` the paths of what each worker has of the chain, the
    head's first."""

    stages: list[Stage]
    blocks: list[tuple[str, ...]]


class Ranges(NamedTuple):
    """The largest share of the model that a worker has, the most bytes, and where the ranges of workers 1, 2,
    ... begin in a chain."""

    share: float
    most_bytes: float
    starts: tuple[int, ...]


def cut_model(model: nn.Module, run: Callable[[], object], workers: int, limit_bytes: int = 0) -> Cut:
    """Takes the blocks of all workers but the first out of `model`, which is the head's from then on.

    `run` makes the model answer once, and `limit_bytes` (0 for none) is what each may have of it. Raises
    CannotCut, PartTooLarge, and what `run` raises; then nothing was changed.
    """
    return cut_at(model, *best_cut(model, run, workers, limit_bytes))


def cut_at(model: nn.Module, chain: Sequence[Block], starts: Sequence[int]) -> Cut:
    """Takes out of `model` the blocks of its `chain` from the first of `starts` on."""
    if not starts:
        return Cut([], [tuple(block.path for block in chain)])
    ends = [*starts[1:], len(chain)]
    ranges = [chain[: starts[0]], *(chain[start:end] for start, end in zip(starts, ends, strict=True))]
    stages = [Stage([model.get_submodule(block.path) for block in each]) for each in ranges[1:]]
    away, handover = chain[starts[0] :], Handover()
    for number, block in enumerate(away):
        stand_in = Elsewhere(handover, block.returns, is_first=number == 0, is_last=number == len(away) - 1)
        parent, _, name = block.path.rpartition(".")
        setattr(model.get_submodule(parent), name, stand_in.eval())
    return Cut([stage.eval() for stage in stages], [tuple(block.path for block in each) for each in ranges])


def put_back(model: nn.Module, cut: Cut) -> None:
    """What was cut is whole again."""
    for stage, paths in zip(cut.stages, cut.blocks[1:], strict=True):
        for path, block in zip(paths, stage.blocks, strict=True):
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, block)


def best_cut(
    model: nn.Module, run: Callable[[], object], workers: int, limit_bytes: int
) -> tuple[list[Block], tuple[int, ...]]:
    """Of all chains the one whose ranges are the most even, of such the longest; and where these begin.
    Raises as `cut_model`."""
    chains, flops = chains_of(model, run, workers)
    total_bytes = module_bytes(model)
    found: list[tuple[Ranges, list[Block]]] = []
    for chain in chains:
        own = (
            total_bytes - sum(block.nbytes for block in chain),
            flops - sum(block.flops for block in chain),
        )
        ranges = cut_chain(chain, own, (total_bytes, flops), workers, limit_bytes)
        if ranges is not None:
            found.append((ranges, chain))
    if not found:
        raise CannotCut(f"no chain of its modules can be cut for {workers} workers")
    ranges, chain = min(found, key=lambda each: (_order(each[0], limit_bytes or inf), -len(each[1])))
    if limit_bytes and ranges.most_bytes > limit_bytes:
        raise PartTooLarge(
            f"cut for {workers} workers one of them has {show_bytes(int(ranges.most_bytes))} of the model, "
            f"more than the {show_bytes(limit_bytes)} of memory=: use more workers or declare more memory"
        )
    return chain, ranges.starts


def cut_to_fit(model: nn.Module, run: Callable[[], object], most_workers: int, limit_bytes: int) -> Cut:
    """As `cut_model`, for as few workers as can hold the model, of which each may have `limit_bytes`. Raises
    PartTooLarge when no number of workers can."""
    total_bytes = module_bytes(model)
    why = ""
    for workers in range(max(2, -(-total_bytes // limit_bytes)), most_workers + 1):
        try:
            return cut_model(model, run, workers, limit_bytes)
        except PartTooLarge as error:
            why = error.message
        except CannotCut as error:
            why = why or error.message
            break  # more workers would need a longer chain
    raise PartTooLarge(
        f"the model has {total_bytes} bytes and memory= lets a worker have {limit_bytes} of them, and it "
        f"cannot be spread over more: {why or f'at most {most_workers} workers are allowed'}"
    )


def cut_chain(
    chain: Sequence[Block],
    own: tuple[float, float],
    whole: tuple[float, float],
    workers: int,
    limit_bytes: int = 0,
) -> Ranges | None:
    """Where the ranges of workers 1, 2, ... begin, so that the largest share of the model is as small as can
    be. `own` is what the head has beside blocks, `whole` the model's, in bytes and FLOPs: a share is the mean
    of both. The head may have no block, if it has anything else. Above the limit where nothing is within it;
    None for too few blocks."""
    limit = limit_bytes or inf
    shares = [_share(block.nbytes, block.flops, whole) for block in chain]
    # reached[n]: the best with the first n blocks given out.
    reached: dict[int, Ranges] = {}
    for count in range(0 if own[0] else 1, len(chain) + 1):
        nbytes = own[0] + sum(block.nbytes for block in chain[:count])
        reached[count] = Ranges(_share(*own, whole) + sum(shares[:count]), nbytes, ())
    for _ in range(1, workers):
        following: dict[int, Ranges] = {}
        for start, (worst, widest, starts) in reached.items():
            share = nbytes = 0.0
            for end in range(start + 1, len(chain) + 1):
                share += shares[end - 1]
                nbytes += chain[end - 1].nbytes
                found = Ranges(max(worst, share), max(widest, nbytes), (*starts, start))
                if end not in following or _order(found, limit) < _order(following[end], limit):
                    following[end] = found
        reached = following
    return reached.get(len(chain))


def _share(nbytes: float, flops: float, whole: tuple[float, float]) -> float:
    return (nbytes / (whole[0] or 1.0) + flops / (whole[1] or 1.0)) / 2


def _order(found: Ranges, limit: float) -> tuple[float, float, float]:
    """What fits comes first, then the smallest share; of what does not fit the smallest."""
    return max(0.0, found.most_bytes - limit), round(found.share, 9), found.most_bytes
