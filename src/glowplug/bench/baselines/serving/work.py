"""What every server does: the workloads, without any server."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

TENSOR_SHAPE = (3, 224, 224)
IMAGE_SHAPE = (427, 640, 3)


def arguments() -> tuple[str, int, int]:
    """(workload, port, compute threads) from the command line. Limits torch to these threads."""
    workload, port, threads = sys.argv[1:]
    limit_threads(int(threads))
    return workload, int(port), int(threads)


def limit_threads(threads: int) -> None:
    """For this process, if torch is imported later, and for those it starts."""
    os.environ["OMP_NUM_THREADS"] = str(threads)


def echo(message: dict[str, Any]) -> dict[str, Any]:
    return {"text": message["text"], "number": message["number"]}


def tensor_of(body: bytes) -> np.ndarray[Any, Any]:
    """Float32 of TENSOR_SHAPE; a view, nothing is copied."""
    import numpy as np

    return np.frombuffer(body, dtype=np.float32).reshape(TENSOR_SHAPE)


def summary(tensor: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"shape": list(tensor.shape), "sum": float(tensor.sum())}


def image_of(body: bytes) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.frombuffer(body, dtype=np.uint8).reshape(IMAGE_SHAPE)


def model(name: str) -> Callable[[Any], list[float]]:
    """The answers of a model of `examples/plain`, on the threads that this process may use.

    Built without initialisation; its weights, of the safetensors file that SERVING_WEIGHTS names or else
    where the model says, are copied into memory that torch aligned.
    """
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    plain = importlib.import_module(f"plain.{name}")
    # Not torch's meta device: its first use imports for a second.
    for initialiser in [each for each in vars(torch.nn.init) if each.endswith("_") and each[0] != "_"]:
        setattr(torch.nn.init, initialiser, lambda tensor, *_, **__: tensor)
    module = plain.build()
    module.load_state_dict(load_file(os.environ.get("SERVING_WEIGHTS") or plain.weights()))
    module.eval()
    tools = plain.setup()

    def answer(request: Any) -> list[float]:
        with torch.inference_mode():
            answered: list[float] = plain.answer(module, tools, request)
            return answered

    return answer
