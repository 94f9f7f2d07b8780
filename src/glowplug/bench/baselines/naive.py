"""The cold start that people have: a fresh python imports, builds, loads, infers.

    python naive.py MODULE WEIGHTS REQUEST SPAWNED_S

MODULE is one of `examples/plain` (found through PYTHONPATH), WEIGHTS a `.safetensors` or `.pth` file,
REQUEST a `.npy` or `.json` file, SPAWNED_S the client's `time.monotonic()` just before it started this
process. Prints one JSON line, `{"answer", "phases"}`; then for each line with a count on stdin, that many
more answers and `{"warm_s": [...]}`.
"""

from __future__ import annotations

import time

started_s = time.monotonic()

import importlib  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402


def main(module: str, weights: str, request: str, spawned_s: str) -> None:
    marks = [float(spawned_s), started_s]

    plain = importlib.import_module(f"plain.{module}")
    path = Path(request)
    asked = np.load(path) if path.suffix == ".npy" else json.loads(path.read_bytes())
    marks.append(time.monotonic())

    model = plain.build()
    tools = plain.setup()
    marks.append(time.monotonic())

    state = load_file(weights) if weights.endswith(".safetensors") else torch.load(weights, weights_only=True)
    marks.append(time.monotonic())

    model.load_state_dict(state)
    model.eval()
    marks.append(time.monotonic())

    with torch.inference_mode():
        answer = plain.answer(model, tools, asked)
        marks.append(time.monotonic())
        names = ("fork", "import", "build", "fetch", "apply", "first_compute")
        phases = {name: end - start for name, start, end in zip(names, marks, marks[1:], strict=False)}
        print(json.dumps({"answer": answer, "phases": phases}), flush=True)

        for line in sys.stdin:
            warm_s = []
            for _ in range(int(line)):
                start_s = time.monotonic()
                plain.answer(model, tools, asked)
                warm_s.append(time.monotonic() - start_s)
            print(json.dumps({"warm_s": warm_s}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
