"""`distributed`, part `kernel`: a network on one thread, ours beside scipy's sparse products.

scipy multiplies by a dense matrix of activations or by a sparse one, in fp32 as ours does; the faster of the
two is the one to beat. All have the layers ready before the clock starts (ours lays them out anew for each
run), and as many samples as make up ELEMENTS activations or more, and alternate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from glowplug.bench.distributed.options import Options, Tell
from glowplug.bench.result import Claim, claim, spread
from glowplug.distributed.network import Floats, Network
from glowplug.distributed.stored import StoredNetwork
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.digits import digits
from glowplug.distributed.workload.oracle import categories, oracle
from glowplug.distributed.workload.serial import serial

ELEMENTS, LEAST_SAMPLES = 2**23, 512
"""With fewer it would be told how fast layers are laid out, which is done once for all samples."""
TIMES = 2.0
RECORD_EDGES_PER_S = 180e12
"""The best that the challenge published, on GPUs (2020)."""
OURS = "ours"


def run(options: Options, tell: Tell) -> tuple[list[dict[str, Any]], list[Claim], list[str]]:
    """A row for each size and way, and a claim for each size. `equal`: the categories of the fp64 oracle."""
    rows: list[dict[str, Any]] = []
    claims: list[Claim] = []
    for neurons in options.kernel_neurons:
        found = _sized(options, neurons, tell)
        rows += found
        seconds = {row["system"]: row["total_s"] for row in found}
        ours_s = seconds.pop(OURS)
        name = f"N = {neurons}: times as fast as scipy, one thread"
        claims.append(claim(name, min(seconds.values()) / ours_s, "at least", TIMES))
    return rows, [] if options.quick else claims, []


def _sized(options: Options, neurons: int, tell: Tell) -> list[dict[str, Any]]:
    layers = min(options.head, options.layers)
    samples = min(options.samples, max(LEAST_SAMPLES, ELEMENTS // neurons))
    whole = ChallengeNetwork(neurons, options.layers)
    network = StoredNetwork([whole.layer(index) for index in range(layers)], whole.activation(0))
    x = digits(neurons, samples, 0, ink=options.ink)
    ways: dict[str, Callable[[], Any]] = {
        OURS: lambda: serial(network, x),
        "scipy, dense activations": _scipy(network, x, sparse=False),
        "scipy, sparse activations": _scipy(network, x, sparse=True),
    }
    answers: dict[str, Any] = {}
    tell(f"N = {neurons}: the answer in fp64")
    right = categories(oracle(network, x))
    took_s: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(options.repeats):
        for name, way in ways.items():
            tell(f"N = {neurons}: {name}, {repeat + 1} of {options.repeats}")
            if not repeat and name == OURS:
                serial(network, x[:, :1])  # its kernel is compiled
            began_s = time.perf_counter()
            answer = way()
            took_s[name].append(time.perf_counter() - began_s)
            answers[name] = categories(answer)
    edges = network.total_edges * samples
    return [
        {
            "part": "kernel", "system": name, "plan": "serial", "channel": "none", "neurons": neurons,
            "layers": layers, "samples": samples, "workers": 1, "seed": 0, **spread("total_s", seconds),
            **spread("edges_per_s", [edges / each for each in seconds]),
            "record_edges_per_s": RECORD_EDGES_PER_S,
            "equal": bool(np.array_equal(answers[name], right)),
            "usd": None, "bytes_sent": None, "rows_sent": None, "predicted_s": None, "predicted_usd": None,
            "delay_model": None, "simulated": False,
        }
        for name, seconds in took_s.items()
    ]  # fmt: skip


def _scipy(network: Network, x: Floats, *, sparse: bool) -> Callable[[], Any]:
    from scipy.sparse import csr_array

    cap = network.activation(0).cap
    layers = [network.layer(index) for index in range(network.layers)]
    weights = [
        (csr_array((each.values, each.indices, each.indptr), shape=(each.rows, each.inputs)), each.bias)
        for each in layers
    ]

    def by_dense() -> Any:
        y = x
        for matrix, bias in weights:
            z = matrix @ y
            y = np.clip(np.where(z == 0, np.float32(0), z + bias[:, None]), 0, cap)
        return y

    def by_sparse() -> Any:
        y = csr_array(x)
        for matrix, bias in weights:
            y = matrix @ y
            y.data += np.repeat(bias, np.diff(y.indptr))
            np.clip(y.data, 0, cap, out=y.data)
            y.eliminate_zeros()
        return y.toarray()

    return by_sparse if sparse else by_dense
