"""What `preloading` compares: systems as data, and one cell, which runs in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.bench.preloading.published import PUBLISHED
from glowplug.sim.apart import Router, replay_routed
from glowplug.sim.footprints import PUBLISHED as MODELS
from glowplug.sim.replays import Cluster, Replayed, System
from glowplug.sim.workloads.gaps import classify, variation
from glowplug.sim.workloads.registry import make_trace
from glowplug.sim.workloads.reshape import select
from glowplug.sim.workloads.trace import Trace

LARGEST_BYTES = max(model.loaded_bytes for model in MODELS)
OVERLOADED_S = 10.0
"""Mean seconds of waiting from which on a cell says nothing about pre-loading but that memory is short."""

FIXED_RIVALS = (
    System("fixed"),
    System("histogram", prewarm="histogram"),
    System("faascache", prewarm="kept", eviction="greedy-dual"),
    *(
        System(
            f"{preload}, {where}",
            "kept",
            preload,
            "greedy-dual",
            keeps_loaded=keeps,
            displaces=displaces,
            limit_bytes=limit_bytes,
        )
        for preload in ("tyche", "instainfer")
        for where, keeps, displaces, limit_bytes in (
            ("large sandboxes", True, False, LARGEST_BYTES),
            ("displacing", False, False, LARGEST_BYTES),
            ("yielding", True, True, 0),
        )
    ),
)
"""Pre-loading as published needs sandboxes with room: larger ones than their models, which then keep theirs;
or ones where pre-loads displace what was used last; or ones of their models' sizes, which keep a model until
a guest that is worth more needs the room."""
FEW_RIVALS = tuple(each for each in FIXED_RIVALS if each.preload == "none" or each.name == "tyche, yielding")
"""The best of each kind where all have helpers."""
LADDER = System("ladder", prewarm="kept", eviction="ladder", preload="ladder")
CALLED_ONLY = msgspec.structs.replace(LADDER, name="ladder, called only", uncalled=False)
"""Who holds nothing that nobody has called yet, so that little is held in vain."""
CLAIRVOYANT = System("clairvoyant", prewarm="kept", eviction="ladder", preload="clairvoyant")
"""The bound: as ladder, with each function's next call known."""


def held_to(cpu_share: float) -> System:
    """Ladder with so much of a core at each node; with none it only evicts."""
    name = f"ladder, {cpu_share:.0%} of a core"
    if not cpu_share:
        return msgspec.structs.replace(LADDER, name=name, preload="none", cpu_share=0.0)
    return msgspec.structs.replace(LADDER, name=name, cpu_share=cpu_share)


def on_zygotes(system: System) -> System:
    """There a node's free memory is the one sandbox, which has no owner that could yield."""
    return msgspec.structs.replace(system, substrate="zygote")


def helpless(system: System) -> System:
    """The same without helpers."""
    return msgspec.structs.replace(system, helpers=False)


AT_CPU = tuple(held_to(share) for share in (0.0, 0.01, 0.03, 0.1))
"""For a comparison at equal processor time."""


def as_published(name: str, prewarm: str, eviction: str, preload: str) -> System:
    """Nothing is kept loaded after an answer, and nobody has helpers."""
    return System(
        name,
        prewarm=prewarm,
        eviction=eviction,
        preload=preload,
        helpers=False,
        keeps_loaded=False,
        limit_bytes=LARGEST_BYTES,
    )


def keeping(system: System) -> System:
    """The same with models that stay loaded after an answer, so that pre-loads have only what memory is
    free in their sandboxes."""
    return msgspec.structs.replace(system, name=f"{system.name}{KEPT}", keeps_loaded=True)


KEPT = ", kept loaded"
TABLE = tuple(as_published(row.name, row.prewarm, row.eviction, row.preload) for row in PUBLISHED)
TABLE_KEPT = tuple(keeping(system) for system in TABLE if system.prewarm in ("fixed", "pagurus"))
"""Those of the paper's comparison of 93 %, and of its fairest one."""
PLAIN = tuple(helpless(system) for system in (*FEW_RIVALS, LADDER))
PLAIN_PUBLISHED = tuple(
    system for system in TABLE if system.name in ("openwhisk", "instainfer + faascache", "tyche + faascache")
)
"""Beside those, which keep models loaded."""
APART: tuple[Router, ...] = ("in turn", "by home")


def on_nodes(host: System, routers: Sequence[Router] = ()) -> Iterator[tuple[System, Router]]:
    """Who sees its own node only, beside who sees all, on top of `host`; pre-loads displace what was used
    last, or have free memory only. With one of `routers` the router knows no more than a node does."""
    for make in (lambda system: system, keeping):
        for preload in ("instainfer", "tyche"):
            name = f"{preload} + {host.name}"
            system = make(as_published(name, host.prewarm, host.eviction, preload))
            yield system, "knows all"
            for router in routers if preload == "instainfer" else ():
                yield msgspec.structs.replace(system, name=f"{system.name}, {router}"), router


LEAST_NODE_BYTES = 4 * 10**9
"""Smaller nodes hold two or three models: what happens there says little about how many nodes there are."""


def node_bytes(cluster: Cluster, functions: int) -> int:
    return cluster.node_bytes(MODELS, functions)


class Cell(msgspec.Struct, frozen=True):
    """One replay. `workload` is a text of sim.workloads; `functions` of them are taken by the seed, of one
    class of regularity where `trace_class` names one."""

    part: str
    system: System
    cluster: Cluster
    workload: str
    functions: int
    seed: int
    trace_class: str = "all"
    router: Router = "knows all"
    shares_weights: bool = False


def run_cell(cell: Cell) -> dict[str, Any]:
    trace = _trace(cell.workload, cell.functions, cell.trace_class, cell.seed)
    found = replay_routed(
        trace, cell.system, cell.cluster, cell.router, seed=cell.seed, shares_weights=cell.shares_weights
    )
    return _row(cell, trace, found)


@lru_cache(maxsize=2)
def _trace(workload: str, functions: int, trace_class: str, seed: int) -> Trace:
    whole = make_trace(workload, seed)
    return select(whole, chosen(whole, functions, trace_class, seed))


def chosen(whole: Trace, functions: int, trace_class: str, seed: int) -> NDArray[np.int64]:
    """The functions that a cell plays, in their order there."""
    numbers = np.arange(whole.functions)
    if trace_class != "all":
        found = classify(variation(whole))
        numbers = np.array([n for n in numbers if found[n] == trace_class])
    rng = np.random.default_rng(seed)
    if len(numbers) > functions:
        numbers = np.sort(rng.choice(numbers, functions, replace=False))
    return rng.permutation(numbers)


def _row(cell: Cell, trace: Trace, found: Replayed) -> dict[str, Any]:
    system, cluster = cell.system, cell.cluster
    answered = len(found.waits_s)
    waits_s = found.waits_s if answered else np.array([0.0])
    loading_mean_s = float(waits_s.mean())
    return {
        "system": system.name,
        "prewarm": system.prewarm,
        "preload": system.preload,
        "eviction": system.eviction,
        "substrate": system.substrate,
        "helpers": system.helpers,
        "keeps_loaded": system.keeps_loaded,
        "trace": cell.workload.partition(":")[0] + (",jitter" if "jitter" in cell.workload else ""),
        "trace_class": cell.trace_class,
        "router": cell.router,
        "shares_weights": cell.shares_weights,
        "functions": trace.functions,
        "requests": trace.requests,
        "failed": found.failed,
        "nodes": cluster.nodes,
        "devices": 0,
        "memory_share": cluster.memory_share,
        "seed": cell.seed,
        "mean_s": float(found.latencies_s.mean()) if answered else 0.0,
        "p99_s": float(np.percentile(found.latencies_s, 99)) if answered else 0.0,
        "loading_mean_s": loading_mean_s,
        **_rates(found, trace.requests),
        "waited_share": found.waited / max(1, answered),
        "started": found.started,
        "wasted": found.wasted,
        "wasted_byte_s": found.wasted_byte_s,
        "cpu_s": found.cpu_s,
        "loading_s": found.loading_s,
        "cpu_share": system.cpu_share if isfinite(system.cpu_share) else None,
        "held_mean_bytes": float(found.memory_bytes.mean()),
        "overloaded": loading_mean_s > OVERLOADED_S or found.failed > 0,
        "simulated": True,
    }


def _rates(found: Replayed, requests: int) -> dict[str, float]:
    """Shares of requests: `preload_rate` of those that used what was loaded ahead, `late_share` of them while
    it was loading; `kept_share` of those that found their model loaded otherwise. `unkept_rate` is of what
    was loaded ahead among requests that found nothing kept."""
    asked, kept = max(1, requests), found.kept or 0
    return {
        "preload_rate": found.preloaded / asked,
        "late_share": found.preloaded_late / asked,
        "kept_share": kept / asked,
        "unkept_rate": found.preloaded / max(1, requests - kept),
    }
