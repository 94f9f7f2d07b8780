"""Part `capped` of `distributed`: a model that no worker may hold. `serial` is refused by its bytes, a
pipeline of workers, each under a cap of the kernel's, answers.

What it answers is held to the same network on one worker that builds a few layers at a time, bit for bit, and
for fewer samples to the challenge's own definition in fp64.
"""

from __future__ import annotations

import re
import tempfile
from typing import Any

import numpy as np

from glowplug.bench.distributed.options import Options, Tell
from glowplug.bench.result import Claim, claim
from glowplug.distributed import assignment as assignments
from glowplug.distributed.errors import PartTooLarge
from glowplug.distributed.local_platform import LocalPlatform
from glowplug.distributed.metering import usage_of
from glowplug.distributed.network import Floats, Network
from glowplug.distributed.prices import price_table
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.runner import Run
from glowplug.distributed.runner import run as run_gang
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.digits import digits
from glowplug.distributed.workload.oracle import categories, oracle
from glowplug.distributed.workload.serial import serial
from glowplug.node.isolation.memory_caps import MemoryCaps, memory_caps
from glowplug.policy.plans.billing import Usage

Rows = list[dict[str, Any]]
SEED = 0
TOLERANCE = 1e-5
"""Of the sum of all activations, fp32 beside fp64."""
_BATCH_SAMPLES = 64
"""Of a micro-batch, about."""


def run(options: Options, tell: Tell) -> tuple[Rows, list[Claim], list[str]]:
    """Raises what a run raises."""
    network = ChallengeNetwork(options.capped_neurons, options.capped_layers, SEED)
    x = digits(network.inputs, options.capped_samples, SEED)
    needed = _refused(options, network, x)
    with memory_caps() as caps, tempfile.TemporaryDirectory(prefix="glowplug-capped-") as folder:
        held = caps if isinstance(caps, MemoryCaps) else None
        tell(f"capped: {options.capped_workers} workers of {options.capped_bytes} bytes")
        ran = _pipeline(options, network, x, held, folder)
    tell("capped: the same on one worker, a few layers at a time")
    equal = np.array_equal(ran.output, serial(network, x))
    few = x[:, : options.capped_oracle_samples]
    tell(f"capped: the oracle, {few.shape[1]} samples")
    exact = oracle(network, few)
    enforced = f"control groups, version {held.version}" if held else f"address space, for {caps}"
    rows = [_refusal(options, needed), _row(options, ran, enforced, equal)]
    return rows, _claims(options, network, needed, ran, equal, exact), []


def _refused(options: Options, network: Network, x: Floats) -> int:
    """The bytes that one worker is said to need; 0 where it was let run."""
    alone = assignments.serial(network, x.shape[1])
    try:
        run_gang(network, x, alone, options=RunOptions(memory_bytes=options.capped_bytes))
    except PartTooLarge as error:
        said = re.search(r"needs (\d+) bytes", error.message)
        return int(said[1]) if said else 0
    return 0


def _pipeline(options: Options, network: Network, x: Floats, caps: MemoryCaps | None, folder: str) -> Run:
    cuts = assignments.even_cuts(network, options.capped_workers)
    batches = max(1, -(-x.shape[1] // _BATCH_SAMPLES))
    spread = assignments.pipeline(network, x.shape[1], cuts, batches)
    told = RunOptions(memory_bytes=options.capped_bytes, deadline_s=3600, parts=folder)
    return run_gang(
        network,
        x,
        spread,
        options=told,
        platform=lambda deployed: LocalPlatform(deployed, caps, options.capped_bytes),
    )


def _refusal(options: Options, needed: int) -> dict[str, Any]:
    return _common(options, "serial", 1) | {
        "refused": needed > 0,
        "needed_bytes": needed,
        "total_s": None,
        "usd": None,
        "bytes_sent": None,
        "rows_sent": None,
        "equal": None,
    }


def _row(options: Options, ran: Run, enforced: str, equal: bool) -> dict[str, Any]:
    usage = Usage(invocations=ran.invocations + 1, function_gib_s=ran.gib_s) + usage_of(ran.meter)
    return _common(options, "pipeline", options.capped_workers) | {
        "refused": False,
        "needed_bytes": None,
        "peak_bytes": max(worker.peak_bytes for worker in ran.workers),
        "enforced_by": enforced,
        "total_s": ran.seconds,
        "worked_s": max(worker.worked_s for worker in ran.workers),
        "gib_s": ran.gib_s,
        "usd": price_table().prices().usd(usage),
        "bytes_sent": ran.meter.message_bytes_sent,
        "rows_sent": ran.rows_sent,
        "restarts": ran.restarts,
        "equal": equal,
    }


def _common(options: Options, plan: str, workers: int) -> dict[str, Any]:
    return {
        "part": "capped",
        "system": "ours",
        "plan": plan,
        "channel": "shared_memory" if workers > 1 else "none",
        "neurons": options.capped_neurons,
        "layers": options.capped_layers,
        "samples": options.capped_samples,
        "workers": workers,
        "memory_bytes": options.capped_bytes,
        "seed": SEED,
        "predicted_s": None,
        "predicted_usd": None,
        "delay_model": None,
        "simulated": False,
    }


def _claims(
    options: Options, network: Network, needed: int, ran: Run, equal: bool, exact: Any
) -> list[Claim]:
    few = ran.output[:, : exact.shape[1]].astype(np.float32)
    apart = np.setxor1d(categories(few), categories(exact)).size
    total = float(exact.sum())
    off = abs(float(few.sum(dtype=np.float64)) - total) / total if total else float(few.any())
    peak = max(worker.peak_bytes for worker in ran.workers)
    return [
        claim("capped: connections of the network", network.total_edges, "at least",
              options.capped_neurons * 32 * options.capped_layers),
        claim("capped: what serial is refused for_bytes", needed, "at least", options.capped_bytes + 1),
        claim("capped: most that a worker held_bytes", peak, "at most", options.capped_bytes),
        claim("capped: workers lost and started again", ran.restarts, "at most", 0),
        claim("capped: answers unlike one worker's", int(not equal), "at most", 0),
        claim(f"capped: categories of {few.shape[1]} samples unlike fp64's", apart, "at most", 0),
        claim(f"capped: sum of {few.shape[1]} samples off fp64's, share", off, "at most", TOLERANCE),
    ]  # fmt: skip
