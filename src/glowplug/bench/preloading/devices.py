"""Where requests find their models on 16 virtual GPUs over several nodes: on one of them, in the memory of
its node, or on its disk.

Pre-loading policies leave devices to scheduling, which loads beside compute and keeps in the node's memory
what has to leave a device. So the systems here are scheduling policies. Models are those of the table that
comes along (sim/models.py).
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from glowplug.bench.preloading.cells import OVERLOADED_S
from glowplug.sim.fleets import FleetSettings, build
from glowplug.sim.models import read_models
from glowplug.sim.outcomes import play
from glowplug.sim.workloads.registry import make_trace
from glowplug.sim.workloads.reshape import select

DEVICES = 16
NODES = (4, 16)
SYSTEMS = (("lalb", "lru"), ("lalb-o3", "lru"), ("finish-first", "value-per-byte"))
HOST_BYTES = 64 * 10**9
"""Of all nodes together, for models that left their devices."""


class DeviceCell(msgspec.Struct, frozen=True):
    """One replay on devices. `functions` of the workload are taken by the seed."""

    system: str
    eviction: str
    nodes: int
    workload: str
    functions: int
    seed: int


def run_device_cell(cell: DeviceCell) -> dict[str, Any]:
    whole = make_trace(cell.workload, cell.seed)
    rng = np.random.default_rng(cell.seed)
    trace = select(whole, rng.permutation(whole.functions)[: cell.functions])
    models = read_models()
    settings = FleetSettings(
        devices=DEVICES, nodes=cell.nodes, loader="ours", host_bytes=HOST_BYTES // cell.nodes,
        scheduling=cell.system, eviction=cell.eviction,
    )  # fmt: skip
    found = play(build(settings, models, trace.functions, seed=cell.seed), trace)
    run_s = float(np.dot(trace.counts(), [models[k % len(models)].run_s for k in range(trace.functions)]))
    needed_bytes = sum(models[k % len(models)].device_bytes for k in range(trace.functions))
    asked = max(1, found.requests)
    loading_mean_s = found.mean_s - run_s / asked
    return {
        "system": cell.system,
        "prewarm": "none",
        "preload": "none",
        "eviction": cell.eviction,
        "substrate": "zygote",
        "helpers": True,
        "trace": cell.workload.partition(":")[0],
        "trace_class": "all",
        "functions": trace.functions,
        "requests": found.requests,
        "failed": found.requests - found.answered,
        "nodes": cell.nodes,
        "devices": DEVICES,
        "memory_share": (settings.devices * settings.device_bytes + HOST_BYTES) / needed_bytes,
        "seed": cell.seed,
        "mean_s": found.mean_s,
        "p99_s": found.p99_s,
        "loading_mean_s": loading_mean_s,
        "on_device_share": found.found_ratio,
        "from_memory_share": found.from_memory / asked,
        "from_disk_share": (found.loads - found.from_memory) / asked,
        "preload_rate": 0.0,
        "wasted_byte_s": 0.0,
        "cpu_s": 0.0,
        "overloaded": loading_mean_s > OVERLOADED_S,
        "simulated": True,
    }
