"""Weights files: every format people have, and every way in which one does not fit."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from safetensors.torch import save_file
from torch import nn

from glowplug import loader
from glowplug.loader.construction import Construction
from tests.loader import nets

pytestmark = pytest.mark.torch


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".PT"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
def test_torch_files(suffix: str, zipped: bool, wrapper: str | None, tmp_path: Path) -> None:
    state = nets.ConvNet().state_dict()
    saved = {wrapper: state, "epoch": 3} if wrapper else state
    torch.save(saved, tmp_path / f"w{suffix}", _use_new_zipfile_serialization=zipped)
    assert same(loader.read_state_dict(tmp_path / f"w{suffix}"), state)


def test_safetensors_files(tmp_path: Path) -> None:
    state = nets.ConvNet().state_dict()
    save_file(state, tmp_path / "w.safetensors")
    assert same(loader.read_state_dict(tmp_path / "w.safetensors"), state)


class Hostile:
    def __reduce__(self) -> Any:
        return os.system, ("touch owned",)


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": Hostile()}, "evil.pt")
    with pytest.raises(loader.WeightsUnreadable, match=r"evil\.pt.*save model\.state_dict"):
        loader.read_state_dict("evil.pt")
    assert not Path("owned").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 0.5, 0.99])
def test_cut_files(suffix: str, keep: float, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    state = nets.ConvNet().state_dict()
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(len(content) * keep)])
    with pytest.raises(loader.WeightsUnreadable, match=path.name):
        loader.read_state_dict(path)


@pytest.mark.parametrize(("name", "hint"), [("none.pt", "no such file"), ("w.h5", r"none of \.safetensors")])
def test_wrong_paths(name: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "w.h5").touch()
    with pytest.raises(loader.WeightsUnreadable, match=hint):
        loader.read_state_dict(tmp_path / name)


def test_a_file_without_tensors_says_what_it_holds(tmp_path: Path) -> None:
    torch.save({"epoch": 1}, tmp_path / "w.pt")
    with pytest.raises(loader.WeightsUnreadable, match=r"keys \['epoch'\]"):
        loader.read_state_dict(tmp_path / "w.pt")


def test_assigned_tensors_are_the_given_ones_not_copies() -> None:
    model, state = nets.ConvNet(), nets.ConvNet().state_dict()
    model.head.weight.requires_grad_(False)
    loader.assign(model, state, "w.pt")
    assert model.head.weight.data_ptr() == state["head.weight"].data_ptr()
    assert model.norm.running_var.data_ptr() == state["norm.running_var"].data_ptr()
    assert isinstance(model.head.weight, nn.Parameter)
    assert [model.head.weight.requires_grad, model.head.bias.requires_grad] == [False, True]


@pytest.mark.parametrize("kept", ["tokens.weight", "out.weight"])
def test_either_name_of_a_tied_weight_is_enough(kept: str) -> None:
    model, state = nets.TiedTransformer(), nets.TiedTransformer().state_dict()
    value = state["tokens.weight"]
    for name in ("tokens.weight", "out.weight"):
        if name != kept:
            del state[name]
    loader.assign(model, state, "w.pt")
    assert model.out.weight is model.tokens.weight
    assert torch.equal(model.out.weight, value)


def test_tied_names_with_other_values_do_not_fit() -> None:
    state = nets.TiedTransformer().state_dict()
    state["out.weight"] = state["out.weight"] + 1
    with pytest.raises(loader.WeightsMismatch, match=r"out\.weight: is tied to tokens\.weight"):
        loader.assign(nets.TiedTransformer(), state, "w.pt")


def test_every_problem_is_named_at_once_and_nothing_is_changed() -> None:
    model, state = nets.ConvNet(), nets.ConvNet().state_dict()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    del state["stem.weight"]
    state["head.weight"] = torch.zeros(5, 8)
    state["head.bias"] = state["head.bias"].half()
    state["extra"] = torch.zeros(2)
    with pytest.raises(loader.WeightsMismatch) as caught:
        loader.assign(model, state, "models/w.pt")
    assert str(caught.value).startswith("models/w.pt: 4 tensors do not fit")
    assert sorted(caught.value.problems) == [
        "extra: unexpected; the file has float32[2], the module nothing of this name",
        "head.bias: the module has float32[4], the file float16[4]",
        "head.weight: the module has float32[4, 8], the file float32[5, 8]",
        "stem.weight: missing; the module has float32[8, 3, 3, 3]",
    ]
    assert same(model.state_dict(), before)


def test_what_old_or_parallel_files_do_otherwise_is_no_problem() -> None:
    state = nets.ConvNet().state_dict()
    del state["norm.num_batches_tracked"]
    model = nets.ConvNet()
    loader.assign(model, {f"module.{name}": tensor for name, tensor in state.items()}, "w.pt")
    assert torch.equal(model.head.weight, state["head.weight"])
    with_positions = {**nets.TiedTransformer().state_dict(), "positions": torch.zeros(12, 16)}
    tied = nets.TiedTransformer()
    loader.assign(tied, with_positions, "w.pt")
    assert tied.positions.abs().sum() > 0


def test_without_init_draws_nothing_for_parameters_and_all_for_buffers() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 64)
            nn.init.trunc_normal_(self.linear.weight, std=0.02)
            nn.init.orthogonal_(self.linear.weight)
            self.linear.weight.data.normal_()
            self.norm = nn.BatchNorm1d(3)
            self.gain = nn.Parameter(torch.ones(3))
            nn.init.constant_(self.gain, 0.5)
            self.register_buffer("noise", nn.init.uniform_(torch.empty(8)), persistent=False)
            self.register_buffer("table", torch.arange(4.0), persistent=False)

    torch.manual_seed(7)
    with loader.without_init():
        net = Net()
    drawn = torch.rand(1)
    torch.manual_seed(7)
    noise = nn.init.uniform_(torch.empty(8))
    assert torch.equal(net.noise, noise)
    assert torch.equal(drawn, torch.rand(1)), "something else was drawn"
    assert net.gain.tolist() == [0.5] * 3
    assert net.norm.weight.tolist() == [1.0] * 3
    assert net.table.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_without_init_ends_when_its_block_fails() -> None:
    before = nn.init.trunc_normal_
    with pytest.raises(KeyError), loader.without_init():
        raise KeyError
    assert nn.init.trunc_normal_ is before
    assert nn.Linear(50, 50).weight.std() > 0.01


def test_threads_without_init_do_not_disturb_each_other_or_anyone_else() -> None:
    before = nn.init.orthogonal_, nn.Module.__init__
    inside, leave = threading.Barrier(2), [threading.Event(), threading.Event()]
    kept: list[Any] = []

    def build() -> Any:
        number = inside.wait(30)
        kept.append(nn.init.orthogonal_)
        assert leave[number].wait(30)
        skipped = nn.Parameter(torch.zeros(4, 4))
        nn.init.orthogonal_(skipped)
        assert not skipped.any()
        return nn.Linear(2, 2)

    def run() -> None:
        with loader.without_init():
            Construction(build, [["weight"]], lambda *_: None).run()

    threads = [threading.Thread(target=run) for _ in leave]
    for thread in threads:
        thread.start()
    until_s = time.monotonic() + 30
    while len(kept) < 2:
        assert time.monotonic() < until_s
    elsewhere = nn.Parameter(torch.zeros(4, 4))
    nn.init.orthogonal_(elsewhere)
    assert elsewhere.any(), "this thread is in no block"
    for event in leave:
        event.set()
    for thread in threads:
        thread.join(30)
    assert (nn.init.orthogonal_, nn.Module.__init__) == before
    later = nn.Parameter(torch.zeros(4, 4))
    kept[0](later)
    assert later.any(), "who imported it meanwhile has one that fills"
