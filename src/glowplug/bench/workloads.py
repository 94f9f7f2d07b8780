"""Source files of many functions, written for an experiment."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from glowplug.core.rng import rng_for

_TRIED_ROUNDS = 20_000

_TAIL = '''"""Many small models, each with seeded weights of its own. Written by an experiment."""

import torch

import glowplug

app = glowplug.App("tail")
SIZES = {sizes}


class Tail:
    number = 0

    def build(self):
        width, depth = SIZES[self.number]
        return torch.nn.Sequential(*(torch.nn.Linear(width, width, bias=False) for _ in range(depth)))

    def example(self):
        return {{"value": 1.0}}

    @glowplug.endpoint
    def answer(self, value: float) -> float:
        width, _ = SIZES[self.number]
        return float(self.model(torch.full((1, width), value)).sum())


def weights_of(number):
    def weights():
        width, depth = SIZES[number]
        generator = torch.Generator().manual_seed(number)
        shape = (width, width)
        scale = width**-0.5
        return {{f"{{k}}.weight": torch.randn(shape, generator=generator) * scale for k in range(depth)}}

    return weights


for number in range(len(SIZES)):
    name = f"Tail{{number}}"
    made = type(name, (Tail,), {{"number": number, "__module__": __name__}})
    declare = app.model(
        name=f"tail-{{number}}", weights=weights_of(number), libraries=["torch"], memory="600MB"
    )
    globals()[name] = declare(made)
'''

_IDLE = '''"""Many small functions. Written by an experiment."""

import glowplug

app = glowplug.App("idle")


def answer(value: int) -> int:
    return value


for number in range({count}):
    def made(value: int) -> int:
        return value + 1

    made.__name__ = made.__qualname__ = f"idle{{number}}"
    globals()[f"idle{{number}}"] = app.function(name=f"idle-{{number}}")(made)
'''


_SERVICE = '''"""Functions whose right answers are known, of one version. Written by an experiment."""

import hashlib

import glowplug

app = glowplug.App("service")
VERSION = {version}


def declare(name, options):
    def made(value: int, rounds: int = 1) -> list:
        salt = f"{{name}} {{VERSION}}".encode()
        return [VERSION, hashlib.pbkdf2_hmac("sha256", str(value).encode(), salt, rounds).hex()]

    made.__name__ = made.__qualname__ = name.replace("-", "_")
    globals()[made.__name__] = app.function(name=name, **options)(made)


for name, options in {functions}.items():
    declare(name, options)
'''


class TailModel(msgspec.Struct, frozen=True):
    """`depth` square layers of `width`, float32, without bias."""

    number: int
    width: int
    depth: int

    @property
    def function(self) -> str:
        return f"tail-{self.number}"

    @property
    def weight_bytes(self) -> int:
        return 4 * self.width**2 * self.depth


def tail_models(count: int, least_bytes: int, most_bytes: int, seed: int) -> list[TailModel]:
    """`count` models whose sizes are spread evenly between the two, in a seeded order."""
    draw = rng_for(seed, 0)
    models = []
    for number in range(count):
        size = draw.uniform(least_bytes, most_bytes)
        depth = draw.choice((2, 4, 8))
        models.append(TailModel(number, max(16, int((size / 4 / depth) ** 0.5)), depth))
    return models


def write_tail(models: list[TailModel], folder: Path) -> Path:
    path = folder / "tail_app.py"
    path.write_text(_TAIL.format(sizes=[(model.width, model.depth) for model in models]))
    return path


def write_idle(count: int, folder: Path) -> Path:
    path = folder / "idle_app.py"
    path.write_text(_IDLE.format(count=count))
    return path


def service_source(version: int, functions: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of a source file with `functions`, the options of each by its name."""
    shown = {name: dict(options) for name, options in functions.items()}
    return _SERVICE.format(version=version, functions=shown)


@lru_cache(maxsize=4096)
def service_answer(name: str, version: int, value: int, rounds: int = 1) -> str:
    """What `name` of that version answers, beside the version."""
    salt = f"{name} {version}".encode()
    return hashlib.pbkdf2_hmac("sha256", str(value).encode(), salt, rounds).hex()


def rounds_of(seconds: float) -> int:
    """The rounds that take this much of one processor of this machine, by the fastest of a few tries."""
    taken: list[float] = []
    for _ in range(5):
        start_s = time.perf_counter()
        hashlib.pbkdf2_hmac("sha256", b"value", b"salt", _TRIED_ROUNDS)
        taken.append(time.perf_counter() - start_s)
    return max(1, int(_TRIED_ROUNDS * seconds / min(taken)))


def tail_answers(models: list[TailModel], value: float) -> dict[str, float]:
    """The right answer of each, by a plain forward in this process."""
    import torch

    answers = {}
    with torch.inference_mode():
        for model in models:
            generator = torch.Generator().manual_seed(model.number)
            shape, scale = (model.width, model.width), model.width**-0.5
            weights = [torch.randn(shape, generator=generator) * scale for _ in range(model.depth)]
            found = torch.full((1, model.width), value)
            for weight in weights:
                found = torch.nn.functional.linear(found, weight)
            answers[model.function] = float(found.sum())
    return answers
