"""What live parts of experiments serve: real and seeded models, redeclared as asked, and right answers."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
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


def write_apps(
    folder: Path, declared: Mapping[str, str], least_bytes: int, most_bytes: int, seed: int
) -> tuple[list[Path], list[Served]]:
    """Source files of FUNCTIONS functions, declared with `declared` (option -> its text) instead of what they
    say of it: the examples first, where what they need is installed, then models with seeded weights, of so
    many bytes each."""
    place = folder / "apps"
    shutil.copytree(examples_dir(), place)
    real = [] if lacking() else [MODELS[name] for name in REAL]
    for model in real:
        redeclare(place / model.app, declared)
    tail = tail_models(FUNCTIONS - len(real), least_bytes, most_bytes, seed)
    source = write_tail(tail, folder)
    redeclare(source, declared)
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


def redeclare(source: Path, declared: Mapping[str, str]) -> None:
    """Every model in the file. Pixels come as JSON: lists of whole numbers."""
    text = source.read_text(encoding="utf-8").replace("prepare(image)", "prepare(image.astype(np.uint8))")
    for option in declared:
        text = re.sub(rf",\s*{option}=(\[[^\]]*\]|\"[^\"]*\")", "", text)
    options = "".join(f"{option}={value}, " for option, value in declared.items())
    for opening in ("@app.model(", "declare = app.model("):
        text = text.replace(opening, opening + options)
    source.write_text(text, encoding="utf-8")
