"""The requests of experiment `gateway`: what is asked of every server, and how each wants to be asked.

A server is asked in the best way it has: small things as JSON, a tensor as raw bytes where it can.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from glowplug.bench.models import MODELS, SENTENCE, plain_answers
from glowplug.core.bodies import JSON, OCTETS, encode_arguments

WORKLOADS = ("echo", "minilm", "tensor")
MESSAGE = {"text": SENTENCE, "number": 7}
TENSOR_SHAPE = (3, 224, 224)
TOLERANCE = 1e-5
"""Relative; sums and embeddings of other versions of numpy and torch differ in their last bits."""


class Ask(msgspec.Struct, frozen=True):
    """One prepared POST. `read` makes of an answer's body what the workload's right answer looks like;
    `way` says in words how the arguments travel."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    read: Callable[[bytes], Any]
    way: str


def tensor() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Seeded float32 of TENSOR_SHAPE, 602,112 bytes."""
    return np.random.default_rng(0).standard_normal(TENSOR_SHAPE, dtype=np.float32)


def right_answer(workload: str) -> Any:
    """By plain code in this process, as JSON would carry it."""
    if workload == "echo":
        return MESSAGE
    if workload == "minilm":
        return plain_answers(MODELS["minilm"], [SENTENCE])[0]
    return {"shape": list(TENSOR_SHAPE), "sum": float(tensor().sum())}


def plain(workload: str) -> Ask:
    """JSON, or the tensor's bytes and nothing else, at `/`."""
    if workload == "tensor":
        return Ask("/", {"Content-Type": OCTETS}, tensor().tobytes(), json.loads, "raw bytes")
    return Ask("/", {"Content-Type": JSON}, _json(_arguments(workload)), json.loads, "JSON")


def at(path: str) -> Callable[[str], Ask]:
    """`plain`, at another path."""
    return lambda workload: msgspec.structs.replace(plain(workload), path=path)


def v2(workload: str) -> Ask:
    """The V2 inference protocol, in which MLServer takes no raw bodies over HTTP."""
    if workload == "tensor":
        name, data = "tensor", base64.b64encode(tensor().tobytes()).decode()
    elif workload == "minilm":
        name, data = "text", SENTENCE
    else:
        name, data = "message", json.dumps(MESSAGE)
    body = _json({"inputs": [{"name": name, "shape": [1], "datatype": "BYTES", "data": [data]}]})

    def read(answer: bytes) -> Any:
        said = json.loads(answer)["outputs"][0]["data"]
        return said if workload == "minilm" else json.loads(said[0])

    way = "V2 JSON, base64" if workload == "tensor" else "V2 JSON"
    return Ask("/v2/models/served/infer", {"Content-Type": JSON}, body, read, way)


def ours(workload: str, *, batched: bool = False) -> Ask:
    """A function of `apps/served.py`, or an example of MiniLM."""
    path = f"/function/{workload}"
    if workload == "minilm":
        path = "/function/batchedembedder/embed" if batched else "/function/embedder/embed"
    argument: Any = {"tensor": tensor()} if workload == "tensor" else _arguments(workload)
    content_type, body = encode_arguments(argument)
    return Ask(
        path, {"Content-Type": content_type}, body, json.loads, ".npy" if workload == "tensor" else "JSON"
    )


def _arguments(workload: str) -> dict[str, Any]:
    return MESSAGE if workload == "echo" else {"text": SENTENCE}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
