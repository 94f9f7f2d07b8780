"""What was packed comes back: the same bits, the same identities, the same answers."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glowplug import loader
from glowplug.loader.writer import write_pack
from tests.depth import examples
from tests.loader import nets

pytestmark = pytest.mark.torch


def round_trip(obj: object, folder: Path, **how: Any) -> Any:
    path = folder / "a.pack"
    loader.write_pack(path, obj, **how)
    with loader.open_pack(path) as pack:
        pack.verify()
        return pack.load()


def bits(tensor: Any) -> bytes:
    flat = tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def test_a_pack_that_is_open_already_needs_no_name(tmp_path: Path) -> None:
    loader.write_pack(tmp_path / "a.pack", torch.arange(1000))
    descriptor = os.open(tmp_path / "a.pack", os.O_RDONLY)
    (tmp_path / "a.pack").unlink()
    with loader.open_pack(descriptor) as pack:
        assert torch.equal(pack.load(), torch.arange(1000))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize(
    ("net", "example"),
    [
        (nets.ConvNet, lambda: torch.randn(2, 3, 9, 9)),
        (nets.TiedTransformer, lambda: torch.randint(0, 50, (2, 7))),
        (nets.Reversed, lambda: torch.randn(3, 4)),
        (nets.Views, lambda: torch.randn(3, 4)),
    ],
)
def test_a_loaded_module_answers_bit_for_bit(net: Any, example: Any, tmp_path: Path) -> None:
    model, x = nets.randomised(net()), example()
    loader.pack(model, x, tmp_path / "net.pack")
    loaded = loader.load(tmp_path / "net.pack")
    with torch.inference_mode():
        assert torch.equal(loaded(x), model(x))


def test_only_what_is_durable_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    assert torch.equal(round_trip(torch.arange(1000), tmp_path, durable=False), torch.arange(1000))
    assert synced == []
    loader.write_pack(tmp_path / "a.pack", torch.arange(1000))
    assert len(synced) == 2, "the file, and its name"


def test_tied_weights_stay_one_parameter_and_are_stored_once(tmp_path: Path) -> None:
    model = nets.TiedTransformer()
    info = loader.write_pack(tmp_path / "a.pack", model)
    loaded = loader.load(tmp_path / "a.pack")
    assert loaded.out.weight is loaded.tokens.weight
    assert isinstance(loaded.out.weight, torch.nn.Parameter)
    assert [entry.name for entry in info.tensors].count("tokens.weight") == 1
    assert "out.weight" not in {entry.name for entry in info.tensors}


def test_what_is_not_saved_by_state_dict_is_kept(tmp_path: Path) -> None:
    loaded = round_trip(nets.TiedTransformer(), tmp_path)
    assert bits(loaded.positions) == bits(nets.TiedTransformer().positions)
    assert "positions" not in loaded.state_dict()
    assert bits(round_trip(nets.Reversed(), tmp_path).scale) == bits(torch.full((4,), 3.0))


def test_views_of_one_storage_still_share_it(tmp_path: Path) -> None:
    model = nets.Views()
    loaded = round_trip(model, tmp_path)
    loaded.fused[0, 0] = 42.0
    assert loaded.query[0, 0] == 42.0
    assert loaded.turned[0, 0] == 42.0
    assert loaded.bits[0, 0] == torch.tensor(42.0).view(torch.int32)
    assert loaded.turned.stride() == model.turned.stride()


def test_parameters_keep_requires_grad_and_buffers_their_kind(tmp_path: Path) -> None:
    net = torch.nn.Module()
    net.frozen = torch.nn.Parameter(torch.randn(3), requires_grad=False)
    net.free = torch.nn.Parameter(torch.randn(3))
    net.marked = torch.nn.Buffer(torch.randn(3), persistent=False)
    net.plain = torch.randn(3, requires_grad=True)
    loaded = round_trip(net, tmp_path)
    assert [loaded.frozen.requires_grad, loaded.free.requires_grad, loaded.plain.requires_grad] == [
        False,
        True,
        True,
    ]
    assert dict(loaded.named_buffers()).keys() == {"marked"}
    assert isinstance(loaded.marked, torch.nn.Buffer)
    assert type(loaded.plain) is torch.Tensor


def test_a_channels_last_weight_keeps_its_strides(tmp_path: Path) -> None:
    conv = torch.nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    loaded = round_trip(conv, tmp_path)
    assert loaded.weight.stride() == conv.weight.stride()
    assert bits(loaded.weight) == bits(conv.weight)


def test_attributes_of_tensors_come_back_with_tensors_in_them(tmp_path: Path) -> None:
    tensor = torch.randn(2)
    tensor.note = {"scale": torch.randn(3)}
    tensor.note["scale"].unit = "m"
    loaded = round_trip([tensor], tmp_path)[0]
    assert bits(loaded.note["scale"]) == bits(tensor.note["scale"])
    assert loaded.note["scale"].unit == "m"


def test_an_object_without_tensors_can_be_packed(tmp_path: Path) -> None:
    assert round_trip({"words": ["a", "b"], "shared": {"x", "y", "z"}}, tmp_path) == {
        "words": ["a", "b"],
        "shared": {"x", "y", "z"},
    }


def test_one_set_met_twice_stays_one(tmp_path: Path) -> None:
    names = {"b", "a", "c"}
    loaded = round_trip({"one": names, "other": names, "alike": {"b", "a", "c"}}, tmp_path)
    assert loaded["one"] is loaded["other"]
    assert loaded["one"] is not loaded["alike"]
    assert loaded["alike"] == names


def test_a_loaded_tensor_can_be_written_and_nothing_else_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.pack"
    loader.write_pack(path, torch.zeros(5000))
    before = path.read_bytes()
    one, other = loader.load(path), loader.load(path)
    one += 1
    assert one.sum() == 5000
    assert other.sum() == 0
    assert path.read_bytes() == before


def test_a_loaded_object_lives_on_without_its_pack_and_its_file(tmp_path: Path) -> None:
    loaded = round_trip(torch.arange(10000), tmp_path)
    (tmp_path / "a.pack").unlink()
    assert loaded.sum() == 49995000


def test_a_child_forked_after_loading_computes_the_same(tmp_path: Path) -> None:
    model, x = nets.Reversed().eval(), torch.ones(1, 4)
    loader.write_pack(tmp_path / "a.pack", model)
    loaded = loader.load(tmp_path / "a.pack")
    child = os.fork()
    if child == 0:
        with torch.inference_mode():
            loaded.first.weight.mul_(1)
            os._exit(0 if torch.equal(loaded(x), model(x)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16,
    torch.int32, torch.int64, torch.bool, torch.complex64, torch.complex128, torch.float8_e4m3fn,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (3, 5)], ids=str)
def test_every_dtype_and_shape(dtype: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    tensor = (torch.rand(shape) * 2).to(dtype)
    loaded = round_trip({"t": tensor}, tmp_path)["t"]
    assert (loaded.dtype, loaded.shape, loaded.stride()) == (tensor.dtype, tensor.shape, tensor.stride())
    assert bits(loaded) == bits(tensor)


@st.composite
def tensor_sets(draw: st.DrawFn) -> list[Any]:
    """Tensors of any kind, some of them views of others, some met twice."""
    made: list[Any] = []
    for _ in range(draw(st.integers(0, 6))):
        if made and draw(st.booleans()):
            base = made[draw(st.integers(0, len(made) - 1))]
            way = draw(st.sampled_from(["same", "turned", "part", "expanded", "bytes"]))
            if way == "turned" and base.dim() >= 2:
                base = base.transpose(0, 1)
            elif way == "part" and base.dim() and base.shape[0]:
                base = base[draw(st.integers(0, base.shape[0] - 1)) :: draw(st.integers(1, 2))]
            elif way == "expanded":
                base = base.expand(2, *base.shape)
            elif way == "bytes" and base.dim() and base.is_contiguous() and base.stride(-1) == 1:
                base = base.view(torch.uint8)
            made.append(base)
        else:
            shape = draw(st.lists(st.integers(0, 4), max_size=3))
            made.append((torch.rand(shape) * 2).to(draw(st.sampled_from(DTYPES))))
    return made


@settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tensors=tensor_sets(), data=st.data())
def test_any_set_of_tensors_comes_back(tensors: list[Any], data: st.DataObject, tmp_path: Path) -> None:
    order = data.draw(st.permutations(tensors))
    loaded = round_trip(tensors, tmp_path, order=order)
    for t, tensor in enumerate(tensors):
        assert bits(loaded[t]) == bits(tensor)
        assert loaded[t].stride() == tensor.stride()
        for u, other in enumerate(tensors):
            assert (loaded[t] is loaded[u]) == (tensor is other)


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = loader.pack(
        nets.TiedTransformer().eval(), torch.ones(1, 3, dtype=torch.long), tmp_path / "a.pack"
    )
    torch.manual_seed(1)
    again = loader.pack(
        nets.TiedTransformer().eval(), torch.ones(1, 3, dtype=torch.long), tmp_path / "b.pack"
    )
    assert first.digest == again.digest
    timings = 8 * len(first.units)
    assert (tmp_path / "a.pack").read_bytes()[:-timings] == (tmp_path / "b.pack").read_bytes()[:-timings]


def test_numpy_arrays_just_travel_along(tmp_path: Path) -> None:
    import numpy as np

    holder = nets.Holder(nets.Reversed(), table=np.arange(6).reshape(2, 3))
    loaded = round_trip(holder, tmp_path)
    assert (loaded.others["table"] == holder.others["table"]).all()
    assert isinstance(loaded.model, nets.Reversed)


def test_a_pack_is_whole_whatever_the_kernel_takes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More pieces than it takes, and fewer bytes written than it was given."""
    model = torch.nn.ParameterList(torch.nn.Parameter(torch.randn(1 + n % 5)) for n in range(700))
    write_pack(tmp_path / "whole.pack", model)
    at_once = os.pwritev

    def some(fd: int, pieces: list[bytes], offset: int) -> int:
        assert len(pieces) <= 1024
        taken = [pieces[0][:7]] if len(pieces[0]) > 7 else pieces[:3]
        return at_once(fd, taken, offset)

    monkeypatch.setattr("os.pwritev", some)
    write_pack(tmp_path / "pieces.pack", model)
    assert (tmp_path / "pieces.pack").read_bytes() == (tmp_path / "whole.pack").read_bytes()
