"""Which cells each part of `preloading` has."""

from __future__ import annotations

from collections.abc import Iterator

from glowplug.bench.preloading.cells import (
    APART,
    AT_CPU,
    CALLED_ONLY,
    CLAIRVOYANT,
    FEW_RIVALS,
    FIXED_RIVALS,
    LADDER,
    LEAST_NODE_BYTES,
    PLAIN,
    PLAIN_PUBLISHED,
    TABLE,
    TABLE_KEPT,
    Cell,
    node_bytes,
    on_nodes,
    on_zygotes,
)
from glowplug.bench.preloading.devices import NODES as DEVICE_NODES
from glowplug.bench.preloading.devices import SYSTEMS as DEVICE_SYSTEMS
from glowplug.bench.preloading.devices import DeviceCell
from glowplug.bench.preloading.options import SHARES, Options
from glowplug.bench.preloading.published import CLASSES
from glowplug.sim.replays import Cluster

SHARING = tuple(on_zygotes(system) for system in (*FEW_RIVALS, LADDER) if not system.displaces)
"""There what functions share is seen: on processes each has all for itself."""
_TWO = (0.25, 0.5)
WIDE = tuple(
    Cluster(nodes, share) for nodes, shares in ((8, _TWO), (16, SHARES), (64, _TWO)) for share in shares
)


def cells(options: Options) -> Iterator[Cell]:
    """Every cell of the parts that were asked for, those of one trace beside each other."""
    if options.quick:
        hour = f"azure2019:{options.path},minutes=6"
        for system in (FIXED_RIVALS[0], LADDER):
            yield Cell("hour", system, Cluster(memory_share=0.25), hour, 40, options.seed)
        return
    hour, mix = f"azure2019:{options.path}", f"mix:{options.path}"
    for seed in range(options.seed, options.seed + options.repeats):
        if "table" in options.parts:
            for trace_class in CLASSES:
                for system in (*TABLE, *TABLE_KEPT):
                    cluster = Cluster(memory_share=2.0)
                    yield Cell("table", system, cluster, hour, 29, seed, trace_class)
        if "nodes" in options.parts:
            for nodes in (4, 16):
                short, ample = Cluster(nodes, memory_share=0.5), Cluster(nodes, memory_share=2.0)
                for system, router in on_nodes(FIXED_RIVALS[0]):
                    yield Cell("nodes", system, short, hour, options.functions, seed, router=router)
                for system, router in on_nodes(FIXED_RIVALS[2], APART):
                    yield Cell("nodes", system, ample, hour, 29, seed, "normal", router)
        for part, workload, functions, shares in (
            ("mix", mix, options.mix_functions, SHARES),
            ("hour", hour, options.functions, options.hour_shares),
            ("jitter", f"{mix},jitter_s=20", options.mix_functions, (0.1,)),
        ):
            if part in options.parts:
                for share in shares:
                    beside = () if part == "jitter" else (CALLED_ONLY, CLAIRVOYANT)
                    for system in (*FIXED_RIVALS, LADDER, *beside):
                        yield Cell(part, system, Cluster(memory_share=share), workload, functions, seed)
        if "plain" in options.parts:
            for workload, functions, shares in (
                (mix, options.mix_functions, SHARES),
                (hour, options.functions, (0.25,)),
            ):
                for share in shares:
                    for system in (*PLAIN, *PLAIN_PUBLISHED):
                        yield Cell("plain", system, Cluster(memory_share=share), workload, functions, seed)
        if "cpu" in options.parts:
            for share in (0.1, 0.25):
                for system in (*FEW_RIVALS, LADDER, *AT_CPU):
                    yield Cell("cpu", system, Cluster(memory_share=share), mix, options.mix_functions, seed)
        if "zygote" in options.parts:
            for share in options.zygote_shares:
                there = (
                    on_zygotes(system)
                    for system in (*FIXED_RIVALS, LADDER, CALLED_ONLY)
                    if not system.displaces
                )
                for system in (FIXED_RIVALS[0], LADDER, *there):
                    yield Cell(
                        "zygote", system, Cluster(memory_share=share), mix, options.mix_functions, seed
                    )
        if "shared" in options.parts:
            for share in (0.05, 0.1):
                for system in (FIXED_RIVALS[0], LADDER, *SHARING):
                    shared = system.substrate == "zygote"
                    yield Cell(
                        "shared", system, Cluster(memory_share=share), mix, options.mix_functions, seed,
                        shares_weights=shared,
                    )  # fmt: skip
        if "wide" in options.parts:
            for cluster in _wide(options):
                if node_bytes(cluster, options.wide_functions) >= LEAST_NODE_BYTES:
                    for system in (*FEW_RIVALS, LADDER):
                        yield Cell("wide", system, cluster, mix, options.wide_functions, seed)


def device_cells(options: Options) -> Iterator[DeviceCell]:
    if "devices" not in options.parts or options.quick:
        return
    hour = f"azure2019:{options.path}"
    for seed in range(options.seed, options.seed + options.repeats):
        for nodes in DEVICE_NODES:
            for system, eviction in DEVICE_SYSTEMS:
                yield DeviceCell(system, eviction, nodes, hour, options.mix_functions, seed)


def too_small(options: Options) -> list[str]:
    """A line for each cell of `wide` that is left out."""
    return [
        f"mix, {each.nodes} nodes, {each.memory_share:.0%} of memory: nodes of "
        f"{node_bytes(each, options.wide_functions) / 1e9:.1f} GB, less than {LEAST_NODE_BYTES / 1e9:.0f}"
        for each in _wide(options)
        if "wide" in options.parts and node_bytes(each, options.wide_functions) < LEAST_NODE_BYTES
    ]


def _wide(options: Options) -> list[Cluster]:
    return [each for each in WIDE if each.nodes in options.wide_nodes]
