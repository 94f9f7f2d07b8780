"""The architectures of the examples: sizes and answers as published, and what packs of them answer."""

from __future__ import annotations

import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from torch import nn  # noqa: E402

from architectures.bert import Bert, BertConfig, mean_pooled  # noqa: E402
from architectures.gpt2 import GPT2, GPT2Config  # noqa: E402
from architectures.mobilenet import MobileNetV2  # noqa: E402
from architectures.resnet import ResNet50  # noqa: E402
from architectures.swin import SwinConfig, SwinTransformer, relative_positions, shift_mask  # noqa: E402
from architectures.vit import VisionTransformer, ViTConfig  # noqa: E402
from architectures.zoo import ZOO  # noqa: E402
from glowplug import loader  # noqa: E402
from seeded import seeded_weights  # noqa: E402

TINY = BertConfig(hidden=32, layers=2, heads=4, intermediate=64, vocabulary=100, positions=16)
TINY_GPT2 = GPT2Config(hidden=32, layers=2, heads=4, vocabulary=100, positions=16)
TINY_SWIN = SwinConfig(image=16, patch=2, window=4, width=8, depths=(2, 2), heads=(2, 2), classes=10)
TINY_VIT = ViTConfig(image=16, patch=8, hidden=32, layers=1, heads=4, intermediate=64, classes=10)

# Parameters, each once however many layers share it; what one answer to two items looks like.
PUBLISHED = {
    "resnet50": (25_557_032, (2, 1000)),
    "resnet152": (60_192_808, (2, 1000)),
    "vgg16": (138_357_544, (2, 1000)),
    "vgg19": (143_667_240, (2, 1000)),
    "vit_b16": (86_567_656, (2, 1000)),
    "bert_base": (109_482_240, (2, 32, 768)),
    "bert_large": (335_141_888, (2, 32, 1024)),
    "gpt2": (124_439_808, (2, 50257)),
    "regnet": (39_381_472, (2, 1000)),
    "swin_t": (28_288_354, (2, 1000)),
    "mobilenetv2": (3_504_872, (2, 1000)),
    "minilm": (22_713_216, (2, 32, 384)),
}


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@cache
def without_memory(name: str) -> nn.Module:
    with torch.device("meta"):
        return ZOO[name].build().eval()


def seeded(build) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().eval()


def test_the_zoo_has_what_is_published_here() -> None:
    assert list(ZOO) == list(PUBLISHED)
    assert all(name == entry.name for name, entry in ZOO.items())


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_and_answers_are_as_published(name: str) -> None:
    model, (count, shape) = without_memory(name), PUBLISHED[name]
    with torch.inference_mode():
        answer = model(*(each.to("meta") for each in ZOO[name].batched(2)))
    assert parameters(model) == count
    assert (answer.shape, answer.dtype) == (shape, torch.float32)


def test_the_published_size_of_bert_counts_the_pooler_and_no_head() -> None:
    model = without_memory("bert_large")
    parts = {name: parameters(part) for name, part in model.named_children()}
    assert parts == {"embeddings": 31_782_912, "encoder": 302_309_376, "pooler": 1_049_600}


def test_importing_the_zoo_imports_no_torch() -> None:
    examples = Path(__file__).parents[2] / "examples"
    code = "import sys, architectures.zoo; print('torch' in sys.modules, 'architectures.vgg' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=examples, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("name", ["mobilenetv2", "gpt2"])
def test_inputs_repeat_and_leave_the_generator_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    (one,), (three,) = ZOO[name].example(), ZOO[name].batched(3)
    assert torch.equal(one, three[:1])
    assert not torch.equal(three[0], three[1])
    assert torch.equal(torch.random.get_rng_state(), before)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ZOO[name].batched(0)


@pytest.mark.parametrize("name", ["swin_t", "mobilenetv2", "minilm"])
def test_a_loaded_pack_answers_bit_for_bit(name: str, tmp_path: Path) -> None:
    model, example = seeded(ZOO[name].build), ZOO[name].example()
    loader.pack(model, example, tmp_path / "model.pack")
    loaded = loader.load(tmp_path / "model.pack")
    tensors = dict([*loaded.named_parameters(), *loaded.named_buffers()])
    for key, tensor in [*model.named_parameters(), *model.named_buffers()]:
        assert torch.equal(tensors.pop(key), tensor)
    assert not tensors
    with torch.inference_mode():
        answer = model(*example)
        assert torch.equal(model(*example), answer)
        assert torch.equal(loaded(*example), answer)
        other = model(ZOO[name].batched(2)[0][1:])
    assert answer.isfinite().all()
    # Untrained answers are as small as 1e-9 (MobileNetV2's), so only a relative difference tells them apart.
    assert (other - answer).norm() > 0.01 * answer.norm()


@pytest.mark.parametrize(
    "build",
    [
        lambda: Bert(TINY),
        lambda: GPT2(TINY_GPT2),
        lambda: SwinTransformer(TINY_SWIN),
        lambda: VisionTransformer(TINY_VIT),
        MobileNetV2,
        ResNet50,
    ],
    ids=["bert", "gpt2", "swin", "vit", "mobilenet", "resnet"],
)
def test_modules_pickle(build) -> None:
    with torch.device("meta"):
        names = list(build().state_dict())
    model = build()
    assert list(pickle.loads(pickle.dumps(model)).state_dict()) == names


def test_padding_does_not_change_the_tokens_before_it() -> None:
    model = Bert(TINY).eval()
    model.load_state_dict(seeded_weights(lambda: Bert(TINY)))
    alone = torch.arange(5).unsqueeze(0)
    padded = torch.cat([alone, torch.zeros(1, 3, dtype=torch.int64)], dim=1)
    mask = torch.tensor([[1] * 5 + [0] * 3])
    with torch.inference_mode():
        torch.testing.assert_close(model(padded, mask)[:, :5], model(alone))
        assert mean_pooled(model(alone)).norm().item() == pytest.approx(1.0)


def test_gpt2_uses_its_embedding_twice() -> None:
    model = without_memory("gpt2")
    assert model.lm_head.weight is model.transformer.wte.weight
    assert {"lm_head.weight", "transformer.wte.weight"} <= set(model.state_dict())


def test_gpt2_answers_from_the_last_token_and_sees_none_after_it() -> None:
    model = seeded(lambda: GPT2(TINY_GPT2))
    ids = torch.arange(12).reshape(2, 6)
    with torch.inference_mode():
        hidden = model.transformer(ids)
        torch.testing.assert_close(model.transformer(ids[:, :4]), hidden[:, :4])
        torch.testing.assert_close(model(ids), hidden[:, -1] @ model.transformer.wte.weight.T)
        changed = model.transformer(torch.cat([ids[:, :1] + 50, ids[:, 1:]], dim=1))
    assert not torch.allclose(changed[:, -1], hidden[:, -1])


def tanh_gelu(x):
    return nn.functional.gelu(x, approximate="tanh")


@pytest.mark.parametrize("kind", ["vit", "gpt2"])
def test_a_block_computes_what_torchs_own_does(kind: str) -> None:
    if kind == "vit":
        block = VisionTransformer(TINY_VIT).eval().encoder.layers[0]
        linear = [*block.self_attention.parameters(), *block.mlp.parameters()]
        how, mask = (64, 0.0, nn.functional.gelu, TINY_VIT.epsilon), None
    else:
        block = GPT2(TINY_GPT2).eval().transformer.h[0]
        layers = (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj)
        linear = [tensor for layer in layers for tensor in (layer.weight.T, layer.bias)]
        how, mask = (
            (128, 0.0, tanh_gelu, TINY_GPT2.epsilon),
            nn.Transformer.generate_square_subsequent_mask(5),
        )
    generator = torch.Generator().manual_seed(0)
    # Wide weights, and biases other than 0: else one activation would do as well as another.
    for parameter in block.parameters():
        nn.init.normal_(parameter, 0.0, 0.5, generator=generator)
    reference = nn.TransformerEncoderLayer(32, 4, *how, batch_first=True, norm_first=True).eval()
    ours = [*linear, *block.ln_1.parameters(), *block.ln_2.parameters()]
    reference.load_state_dict(dict(zip(reference.state_dict(), ours, strict=True)))
    x = torch.randn(3, 5, 32, generator=generator)
    with torch.inference_mode():
        torch.testing.assert_close(block(x), reference(x, src_mask=mask), rtol=1e-4, atol=1e-4)


def test_swin_knows_where_a_pair_of_patches_stands() -> None:
    # Two by two patches: row distance -1..1 gives steps of 3, column distance steps of 1, no distance is 4.
    expected = [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    assert relative_positions(2).view(4, 4).tolist() == expected


def test_swins_shift_joins_no_opposite_edges() -> None:
    attention = seeded(lambda: SwinTransformer(TINY_SWIN)).features[1][1].attn
    assert (attention.shift, attention.window) == (2, 4)
    x = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    for place, reached in {(0, 0): (0, 2), (4, 4): (2, 6), (7, 7): (6, 8)}.items():
        other = x.clone()
        other[0, place[0], place[1]] += 1
        with torch.inference_mode():
            changed = (attention(other) != attention(x)).any(dim=-1)[0]
        expected = torch.zeros(8, 8, dtype=torch.bool)
        expected[slice(*reached), slice(*reached)] = True
        assert torch.equal(changed, expected)


def test_a_loader_that_assigns_a_state_dict_leaves_swin_without_its_buffers() -> None:
    with torch.device("meta"):
        model = SwinTransformer(TINY_SWIN)
    model.load_state_dict(seeded_weights(lambda: SwinTransformer(TINY_SWIN)), assign=True)
    empty = {name for name, tensor in model.named_buffers() if tensor.is_meta}
    blocks = ("1.0", "1.1", "3.0", "3.1")
    assert empty == {f"features.{block}.attn.relative_position_index" for block in blocks} | {
        "features.1.1.attn.mask"
    }
    assert not any(tensor.is_meta for tensor in model.parameters())
    assert shift_mask(side=8, window=4, shift=2).shape == (4, 1, 16, 16)


def test_seeded_weights_repeat_and_leave_the_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = seeded_weights(lambda: Bert(TINY))
    assert torch.rand(1) == expected
    second = seeded_weights(lambda: Bert(TINY))
    assert all(torch.equal(first[name], second[name]) for name in first)
