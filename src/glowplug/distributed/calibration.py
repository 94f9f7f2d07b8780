"""How fast this machine computes and encodes: short measurements on one core, kept for the planner. Needs
numba."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import numpy as np

from glowplug.distributed.codec import decode_rows, encode_rows
from glowplug.distributed.frame import Payload
from glowplug.distributed.network import Activation, Floats, Layer, Network
from glowplug.distributed.rows_in_flight import encoded, opened
from glowplug.distributed.survey import Encode
from glowplug.policy.plans.model import CodecCost, MachineModel

LIVES = (0.01, 0.05, 0.2, 0.5, 1.0)
SAMPLES = 2048
REPEATS = 3
_SHAPES = ((4, 512), (4, 4096), (32, 512), (32, 4096))
"""Rows and samples of the messages that are encoded."""
_WHOLE_SAMPLES, _WHOLE_LIVES, _WHOLE_SCALES = (128, 512), (0.05, 0.3, 1.0), (0.25, 4.0)
"""Of messages of all rows: of activations too small to saturate a layer, and of such as leave rows alike."""

Decode = Callable[[bytes, int, int], object]
"""From a body, and how many rows of how many samples it has at most."""


def calibrate(network: Network, repeats: int = REPEATS) -> MachineModel:
    """Measures with a typical layer of the network and samples that live in part. About a second."""
    index = typical(network)
    layer, activation = network.layer(index), network.activation(index)
    encode, decode = codec_costs(repeats=repeats)
    encode_whole, decode_whole = _whole_costs(layer, activation, repeats)
    return MachineModel(
        rates=tuple((live, _rate(layer, activation, live, repeats)) for live in LIVES),
        layer_s=_layer_s(layer, activation, repeats),
        encode=encode,
        decode=decode,
        encode_whole=encode_whole,
        decode_whole=decode_whole,
    )


def typical(network: Network) -> int:
    """A layer from the middle, or the one with the most edges where that has none."""
    middle = network.layers // 2
    return middle if network.edges(middle) else max(range(network.layers), key=network.edges)


def _rate(layer: Layer, activation: Activation, live: float, repeats: int) -> float:
    """Edges x samples a second, dead samples counted, which are left out before the kernel sees them."""
    from glowplug.distributed.workload.kernel import Kernel
    from glowplug.distributed.workload.serial import live_columns

    kernel = Kernel(layer, activation)
    x = some_activations(layer.inputs, SAMPLES, live)

    many = int(live_columns(x).sum())
    living, out = (np.empty((rows, many), np.float32) for rows in (layer.inputs, layer.rows))

    def work() -> None:
        np.compress(live_columns(x), x, axis=1, out=living)
        kernel(living, out)

    return layer.edges * SAMPLES / fastest(work, repeats)


def _layer_s(layer: Layer, activation: Activation, repeats: int) -> float:
    """Of one row of one sample, which is next to nothing."""
    from glowplug.distributed.workload.kernel import Kernel

    rows = np.zeros(1, np.int32)
    kernel = Kernel(layer.take(rows).over(layer.take(rows).needed()), activation)
    x = some_activations(kernel.layer.inputs, 1, 1.0)
    return fastest(lambda: kernel(x), repeats)


def _decode(body: bytes, rows: int, samples: int) -> object:
    return decode_rows(body, samples=samples, neurons=rows, most_rows=rows)


def codec_costs(
    encode: Encode = encode_rows, decode: Decode = _decode, repeats: int = REPEATS
) -> tuple[CodecCost, CodecCost]:
    """Of encoding and decoding, fitted to messages of several shapes, dead and alive."""
    terms, encoded, decoded = [], [], []
    for rows, samples in _SHAPES:
        for live in (0.05, 1.0):
            ids, values = np.arange(rows, dtype=np.int32), some_activations(rows, samples, live)
            body = encode(ids, values)
            terms.append((1.0, rows * samples, rows * samples * live))
            encoded.append(fastest(partial(encode, ids, values), repeats))
            decoded.append(fastest(partial(decode, body, rows, samples), repeats))
    return _cost(terms, encoded), _cost(terms, decoded)


def _whole_costs(layer: Layer, activation: Activation, repeats: int) -> tuple[CodecCost, CodecCost]:
    """Of all that a layer makes of some activations."""
    from glowplug.distributed.workload.kernel import forward
    from glowplug.distributed.workload.serial import live_columns

    terms, encoding, decoding = [], [], []
    for samples, live, scale in product(_WHOLE_SAMPLES, _WHOLE_LIVES, _WHOLE_SCALES):
        x = some_activations(layer.inputs, samples, live) * np.float32(scale)
        out = forward(layer, x, activation)
        columns = np.flatnonzero(live_columns(out))
        values = np.ascontiguousarray(out[:, columns])
        payload = Payload(*encoded(values, columns, samples))
        terms.append((1.0, out.size, values.size, len(payload.body)))
        encoding.append(fastest(partial(encoded, values, columns, samples), repeats))
        decoding.append(fastest(partial(opened, payload, len(out), samples), repeats))
    return _cost(terms, encoding), _cost(terms, decoding)


def _cost(terms: Sequence[Sequence[float]], seconds: Sequence[float]) -> CodecCost:
    from scipy.optimize import nnls

    matrix = np.array(terms) / np.array(seconds)[:, None]  # small ones count as large ones do
    scale = matrix.max(axis=0)
    found, _ = nnls(matrix / scale, np.ones(len(seconds)))
    return CodecCost(*(float(each) for each in found / scale))


def some_activations(rows: int, samples: int, live: float) -> Floats:
    """As layers leave them: dead samples are zero in every row, the others are multiples of a sixteenth."""
    rng = np.random.default_rng(0)
    alive = np.arange(samples) < max(1, round(live * samples))
    values = rng.integers(0, 512, (rows, samples)).astype(np.float32) / 16
    found: Floats = values * rng.permutation(alive)
    return found


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Others share this machine: the least is what it can do."""
    work()
    took = []
    for _ in range(repeats):
        began_s = time.perf_counter()
        work()
        took.append(time.perf_counter() - began_s)
    return min(took)
