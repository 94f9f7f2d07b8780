"""Strategies as data: how the stages of one load follow each other. `pipeline.py` obeys them.

The baselines are the papers' (Cicada, arXiv 2502.20959; PISeL, CIKM'24) as their authors would write them
today; `mapped` and `streamed` are ours. A strategy says nothing of where the bytes come from.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """One way to load.

    `structure`: `skeleton` unpickles the object around its tensors; `constructed` runs the caller's build(),
    and with `initialise` lets it draw random numbers. A file without a skeleton is always constructed, and a
    pack never without a build(): its skeleton stands in, with nothing to initialise and nothing to apply.
    `fetch`: all after the build, unit by unit behind the build, at once beside it, or `mapped`, where the
    page cache is the memory. `parallel` reads are under way at once; 0 is what the source advises.
    `apply`: a unit's tensors are copied into those that the build made, or take their place.
    `overlap`: the computation may start on what has been applied. `ordered`: units are applied in their
    order.
    `scheduled`: what a stalled computation waits for is read first. `recycled`: into memory that was used
    before, where the caller has some.
    """

    name: str
    about: str
    structure: Literal["skeleton", "constructed"] = "constructed"
    initialise: bool = False
    fetch: Literal["after", "behind", "at_once", "mapped"]
    parallel: int = 0
    apply: Literal["copy", "assign"] = "assign"
    overlap: bool = True
    ordered: bool = False
    scheduled: bool = False
    recycled: bool = False


_ALL = (
    Strategy(
        name="traditional", about="build with initialisation, read everything, copy it in, compute",
        initialise=True, fetch="after", parallel=1, apply="copy", overlap=False, ordered=True,
    ),
    Strategy(
        name="traditional+noinit", about="the same without initialisation, tensors assigned",
        fetch="after", parallel=1, overlap=False, ordered=True,
    ),
    Strategy(
        name="pisel", about="PISeL: unit by unit build, then fetch, then apply, in order, compute behind",
        initialise=True, fetch="behind", apply="copy", ordered=True,
    ),
    Strategy(
        name="pisel+noinit", about="PISeL without initialisation, tensors assigned",
        fetch="behind", ordered=True,
    ),
    Strategy(
        name="mini", about="Cicada's MiniLoader alone: PISeL with placeholders of untouched memory",
        fetch="behind", ordered=True,
    ),
    Strategy(
        name="decoupled", about="Cicada's WeightDecoupler alone: fetch at once, apply in any order",
        initialise=True, fetch="at_once", apply="copy",
    ),
    Strategy(name="cicada-unscheduled", about="both, without its scheduler", fetch="at_once"),
    Strategy(name="cicada", about="Cicada: both, and what a stalled computation waits for first",
             fetch="at_once", scheduled=True),
    Strategy(
        name="mapped", about="ours: skeleton, weights mapped, read ahead in execution order",
        structure="skeleton", fetch="mapped",
    ),
    Strategy(
        name="streamed", about="ours: skeleton, fetched at once into recycled memory where the tensors live",
        structure="skeleton", fetch="at_once", scheduled=True, recycled=True,
    ),
)  # fmt: skip

STRATEGIES = {one.name: one for one in _ALL}
AUTO = "auto"


def strategy(name: str, *, mappable: bool = False) -> Strategy:
    """The strategy called `name`; `auto` is `mapped` where the source can be mapped, else `streamed`.

    Raises ValueError naming the known ones.
    """
    if name == AUTO:
        name = "mapped" if mappable else "streamed"
    if name not in STRATEGIES:
        raise ValueError(f"no strategy is called {name!r}; there are {', '.join((AUTO, *STRATEGIES))}")
    return STRATEGIES[name]
