"""What the live part of `scheduling` serves: real and seeded models that share devices, and right answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bench.answers import TOLERANCE, difference
from glowplug.bench.models import MODELS, BenchModel, examples_dir, plain_answers
from glowplug.bench.workloads import tail_answers, tail_models, write_tail

REAL = ("minilm", "mobilenetv2")
FUNCTIONS = 8
_VALUES = (0.25, 0.5, 1.0)
_SENTENCES = ("A glow plug warms the cylinder.", "Rain fell on the harbour all night.", "Who keeps time?")
_LEAST_BYTES, _MOST_BYTES = 4 * 10**6, 16 * 10**6


class Served(msgspec.Struct, frozen=True):
    """A function: requests, and the right answer to each, by plain forwards in this process."""

    function: str
    requests: tuple[dict[str, Any], ...]
    answers: tuple[Any, ...]

    def is_right(self, number: int, answer: Any) -> bool:
        return difference(answer, self.answers[number]) <= TOLERANCE


def lacking() -> list[str]:
    """Packages that the real models need and that are not here."""
    return [package for name in REAL for package in MODELS[name].lacks]


def write_apps(folder: Path, device_bytes: int, seed: int) -> tuple[list[Path], list[Served]]:
    """Source files of FUNCTIONS functions, each of which takes `device_bytes` of a device: the examples, told
    so, where what they need is installed, and models with seeded weights for the others."""
    place = folder / "apps"
    shutil.copytree(examples_dir(), place)
    real = [] if lacking() else [MODELS[name] for name in REAL]
    for model in real:
        _onto_devices(place / model.app, device_bytes)
    tail = tail_models(FUNCTIONS - len(real), _LEAST_BYTES, _MOST_BYTES, seed)
    source = write_tail(tail, folder)
    _onto_devices(source, device_bytes)
    served = [_real(model) for model in real]
    answers = [tail_answers(tail, value) for value in _VALUES]
    requests = tuple({"value": value} for value in _VALUES)
    served += [
        Served(each.function, requests, tuple(right[each.function] for right in answers)) for each in tail
    ]
    return [*(place / model.app for model in real), source], served


def _real(model: BenchModel) -> Served:
    """The picture is small: it is resized before it is looked at, and travels as text."""
    import numpy as np

    inputs: list[Any] = list(_SENTENCES)
    if model.input == "image":
        draw = np.random.default_rng(0)
        inputs = [draw.integers(0, 256, (24, 24, 3), dtype=np.uint8) for _ in _VALUES]
    shown = [each.tolist() if model.input == "image" else each for each in inputs]
    requests = tuple({model.argument: each} for each in shown)
    return Served(model.function, requests, tuple(plain_answers(model, inputs)))


def _onto_devices(source: Path, device_bytes: int) -> None:
    """Every model in the file computes on a device, of which it takes so much. Pixels come as JSON: lists of
    whole numbers."""
    text = source.read_text(encoding="utf-8").replace("prepare(image)", "prepare(image.astype(np.uint8))")
    options = f'device="gpu", device_memory={device_bytes}, max_queue=10_000, timeout="10m", '
    for declared in ("@app.model(", "declare = app.model("):
        text = text.replace(declared, declared + options)
    source.write_text(text, encoding="utf-8")
