"""The models of experiment `loading`: packed once, with what a plain forward answers and how long it
takes.
"""

from __future__ import annotations

import gc
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from glowplug import loader
from glowplug.bench.models import examples_dir
from glowplug.loader.info import PackInfo

if TYPE_CHECKING:
    from torch import Tensor

WARM_UPS = 3


class Subject(msgspec.Struct, frozen=True):
    """One architecture with one batch size: its pack, its input, its answer and its pace.

    `compute_s` is a warm forward's seconds by unit, which add up to `forward_s`, the median of some.
    """

    name: str
    pack: Path
    build: Callable[[], Any]
    inputs: tuple[Any, ...]
    expected: Any
    forward_s: float
    info: PackInfo
    compute_s: tuple[float, ...]

    @property
    def nbytes(self) -> int:
        return self.info.weights_nbytes


MODELS = (
    "resnet50", "resnet152", "vgg16", "vgg19", "vit_b16", "bert_base", "bert_large", "gpt2", "regnet",
    "swin_t", "mobilenetv2", "minilm",
)  # fmt: skip
"""Of the zoo, in the order in which they are shown."""


def zoo() -> dict[str, Any]:
    """The architectures of `examples/architectures`, by name."""
    folder = str(examples_dir())
    if folder not in sys.path:
        sys.path.append(folder)
    found: dict[str, Any] = importlib.import_module("architectures.zoo").ZOO
    return found


def make_subject(name: str, batch: int, folder: Path, repeats: int) -> Subject:
    """Builds the architecture with seeded weights, packs it into `folder`, and measures its warm forward.

    The pack is kept and found again. Leaves this process's thread pools and kernel caches warm for it.
    """
    import torch

    entry = zoo()[name]
    inputs = entry.batched(batch)
    pack = folder / f"{name}.pack"
    if not pack.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = entry.build().eval()
        loader.pack(model, entry.batched(1), pack)
        del model
        gc.collect()
    loading = loader.start_load(pack, strategy="mapped", watched=True)
    with torch.inference_mode():
        expected = answer_of(loading.model, inputs)
        timeline = loading.finish()
        loading.wait()
        seconds = [_timed(loading.model, inputs) for _ in range(WARM_UPS + repeats)][WARM_UPS:]
    with loader.open_pack(pack) as opened:
        info = opened.info
    forward_s = statistics.median(seconds)
    compute_s = _by_unit(pack, inputs, len(info.units), forward_s)
    del loading, timeline
    gc.collect()
    return Subject(name, pack, entry.build, inputs, expected, forward_s, info, compute_s)


def answer_of(model: Any, inputs: tuple[Any, ...]) -> Tensor:
    """The model's output as one tensor."""
    found = model(*inputs)
    output: Tensor = found[0] if isinstance(found, tuple) else found
    return output


def _timed(model: Any, inputs: tuple[Any, ...]) -> float:
    start_s = time.perf_counter()
    answer_of(model, inputs)
    return time.perf_counter() - start_s


def _by_unit(pack: Path, inputs: tuple[Any, ...], units: int, forward_s: float) -> tuple[float, ...]:
    """Seconds of a warm pass by unit, from when each unit's weights are first used to when the next one's
    are.
    """
    import torch

    # The second of two watched passes: the weights are in the page cache and the page tables by then.
    for _ in range(2):
        loading = loader.start_load(pack, strategy="mapped", watched=True, verify=False)
        with torch.inference_mode():
            answer_of(loading.model, inputs)
        timeline = loading.finish()
    found = [0.0] * units
    for one in timeline.intervals:
        if one.stage == "compute":
            found[one.unit] += one.end_s - one.start_s
    scale = forward_s / (sum(found) or 1.0)
    return tuple(seconds * scale for seconds in found)
