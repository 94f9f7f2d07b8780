"""Packing runs a model, and leaves it as it was; what is packed is the model as it was given."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import copy
import random
import weakref
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

numpy = pytest.importorskip("numpy", reason="needs the torch extra")

torch = pytest.importorskip("torch", reason="needs the torch extra")

from torch import Tensor, nn

from glowplug import loader
from tests.loader import nets

pytestmark = pytest.mark.torch

X = torch.linspace(-2, 3, 32).view(4, 8)


class Habits(nn.Module):
    """All that a forward may leave behind."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout()
        self.last = nn.Linear(8, 8)
        self.first = nn.Linear(8, 8)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(8))
        self.scale: Tensor | None = None
        self.seen: list[Tensor] = []
        self.kept = {"plain": torch.zeros(8)}

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.mean = self.mean * 0.9 + x.mean(0)
        if self.scale is None:
            self.scale = torch.arange(8.0)
        self.seen.append(x)
        self.kept["plain"].add_(1)
        return self.last(self.drop(self.first(self.norm(x) * self.scale + torch.rand(8))))


def test_a_model_that_was_packed_is_as_it_was(tmp_path: Path) -> None:
    model = Habits()
    model.drop.eval()
    state, mean, draws = copy.deepcopy(model.state_dict()), model.mean, torch.get_rng_state()
    loader.pack(model, X, tmp_path / "a.pack")
    assert torch.equal(torch.get_rng_state(), draws)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.mean is mean
    assert (model.scale, model.seen, model.kept["plain"].tolist()) == (None, [], [0.0] * 8)
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    model(X).sum().backward()
    assert model.last.weight.grad is not None


def test_the_pack_has_the_model_as_it_was_given(tmp_path: Path) -> None:
    model = Habits()
    model.drop.eval()
    info = loader.pack(model, X, tmp_path / "a.pack")
    assert [unit.layers[:4] for unit in info.units] == [("", "norm", "first", "last")], "order of execution"
    loaded = loader.load(tmp_path / "a.pack")
    assert (loaded.calls.item(), loaded.norm.num_batches_tracked.item()) == (0, 0)
    assert (loaded.scale, loaded.seen, loaded.kept["plain"].tolist()) == (None, [], [0.0] * 8)
    assert [module.training for module in loaded.modules()] == [True, True, False, True, True]
    torch.manual_seed(5)
    answer = loaded(X)
    torch.manual_seed(5)
    assert torch.equal(answer, model(X))


class Tells(nn.Module):
    """Where its weights are, in each pass."""

    seen: list[tuple[int, int, int]] = []  # noqa: RUF012 (of the class, so that no copy has its own)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, 8))
        self.row = self.weight.detach()[1]
        self.register_buffer("whole", torch.ones(8, 8))
        self.part = self.whole[1]

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((self.weight.data_ptr(), self.row.data_ptr(), self.whole.data_ptr()))
        assert self.part.data_ptr() - self.whole.data_ptr() == 32, "views stay views"
        return x @ self.weight


def test_a_pass_has_the_parameters_own_memory_and_copies_of_the_rest(tmp_path: Path) -> None:
    Tells.seen.clear()
    model = Tells()
    loader.pack(model, X, tmp_path / "a.pack")
    parameters = (model.weight.data_ptr(), model.row.data_ptr())
    assert [seen[:2] for seen in Tells.seen] == [parameters, parameters]
    assert all(whole != model.whole.data_ptr() for *_, whole in Tells.seen)


class Buffers(nn.Module):
    """Counts how many of its kind are alive in a pass; `knot` may make it refer to itself."""

    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()  # noqa: RUF012 (of the class, as above)
    most: list[int] = []  # noqa: RUF012 (of the class, as above)

    def __init__(self, knot: bool) -> None:
        super().__init__()
        self.register_buffer("whole", torch.ones(8, 8))
        self.knot = [self] if knot else []

    def forward(self, x: Tensor) -> Tensor:
        self.alive.add(self.whole)
        self.most.append(len(self.alive))
        return x @ self.whole


@pytest.mark.parametrize("knot", [False, True])
def test_there_is_one_copy_at_a_time(knot: bool, tmp_path: Path) -> None:
    Buffers.alive.clear()
    Buffers.most.clear()
    loader.pack(Buffers(knot), X, tmp_path / "a.pack")
    assert Buffers.most == [1, 1]


def test_a_default_device_is_no_matter(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
    model.empty = torch.empty(0, 3)
    plain = loader.pack(model, X, tmp_path / "plain.pack")
    with torch.device("meta"):
        assert loader.pack(model, X, tmp_path / "a.pack").digest == plain.digest


class Pair(NamedTuple):
    one: Any
    other: Any


class Changes(nn.Linear):
    """All that it is given."""

    def forward(self, x: Tensor, pair: Pair, more: dict[str, Any]) -> Tensor:
        assert pair.one is x
        x.add_(1)
        pair.other.append(x)
        more["array"] += 1
        more["new"] = x
        return super().forward(x) + random.random() + float(numpy.random.rand())


@pytest.mark.parametrize("named", [False, True])
def test_the_example_is_as_it_was_given_and_so_is_what_was_kept_of_it(named: bool, tmp_path: Path) -> None:
    random.seed(1)
    numpy.random.seed(1)
    x, array = torch.zeros(4, 8), numpy.zeros(2)
    more: dict[str, Any] = {"array": array}
    pair = Pair(x, [])
    states = random.getstate(), numpy.random.get_state()[2]
    example = {"x": x, "pair": pair, "more": more}
    given = MappingProxyType(example) if named else tuple(example.values())
    loader.pack(Changes(8, 8), given, tmp_path / "a.pack")
    assert (random.getstate(), numpy.random.get_state()[2]) == states
    assert (x.sum().item(), array.tolist(), list(more), pair.other) == (0, [0, 0], ["array"], [])
    loading = loader.start_load(tmp_path / "a.pack", primed=True)
    loading.wait()
    prime = loading.prime()
    assert prime is not None
    args, kwargs = prime.calls[0].arguments()
    kept_x, kept_pair, kept_more = kwargs.values() if named else args
    assert (kept_x.sum().item(), kept_pair.other, kept_more["array"].tolist()) == (0, [], [0, 0])


def test_lazy_modules_get_parameters_that_can_be_trained(tmp_path: Path) -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.Dropout())
    info = loader.pack(model, X, tmp_path / "a.pack")
    assert model.training
    assert model[1].training
    assert model[1].num_batches_tracked.item() == 0
    assert model[1].running_mean.tolist() == [0.0] * 8
    model(X).sum().backward()
    assert model[0].weight.grad is not None
    torch.optim.SGD(model.parameters(), 0.1).step()
    assert len(info.tensors) == 7


def test_a_batch_of_one_packs_a_model_in_training_mode(tmp_path: Path) -> None:
    model = nets.Shared()
    loader.pack(model, torch.ones(1, 512), tmp_path / "a.pack")
    assert model.training


def test_what_cannot_be_loaded_is_told_when_it_is_packed(tmp_path: Path) -> None:
    with pytest.raises(loader.NotRebuildable, match=r"a\.pack cannot be rebuilt here.*no state for me"):
        loader.pack(Stubborn(), X, tmp_path / "a.pack")
    assert list(tmp_path.iterdir()) == []


class Stubborn(nn.Linear):
    def __init__(self) -> None:
        super().__init__(8, 8)

    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("no state for me")


class Partly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.compile(nn.Linear(8, 8), backend="eager")

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def test_a_compiled_model_is_packed_as_the_model_it_was(tmp_path: Path) -> None:
    model, x = nets.Reversed().eval(), torch.linspace(-1, 1, 4).view(1, 4)
    compiled = torch.compile(model, backend="eager")  # leaves a mark on the model, too
    plain = loader.pack(model, x, tmp_path / "plain.pack")
    assert loader.pack(compiled, x, tmp_path / "a.pack").digest == plain.digest
    model.compile(backend="eager")
    assert loader.pack(model, x, tmp_path / "b.pack").digest == plain.digest
    loaded = loader.load(tmp_path / "a.pack")
    assert type(loaded) is nets.Reversed
    with torch.inference_mode():
        assert torch.equal(loaded(x), model(x))


def test_what_is_compiled_inside_of_a_model_is_watched_as_it_was_written(tmp_path: Path) -> None:
    model = Partly().eval()
    info = loader.pack(model, X, tmp_path / "a.pack")
    assert [tensor.name for tensor in info.tensors] == ["inner._orig_mod.weight", "inner._orig_mod.bias"]
    loaded = loader.load(tmp_path / "a.pack")
    with torch.inference_mode():
        assert torch.equal(loaded(X), model.inner._orig_mod(X))


def test_a_parametrized_module_is_refused_with_what_to_do(tmp_path: Path) -> None:
    model = nn.Sequential(nn.ReLU(), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)))
    with pytest.raises(loader.NotPicklable) as caught:
        loader.pack(model, X, tmp_path / "a.pack")
    told = str(caught.value)
    assert told.startswith("Sequential.1 cannot be pickled: it is parametrized (weight)")
    for call in (
        'remove_parametrizations(module, "weight")', "module._load_state_dict_pre_hooks.clear()",
    ):  # fmt: skip
        assert call in told
    nn.utils.parametrize.remove_parametrizations(model[1], "weight")
    model[1]._load_state_dict_pre_hooks.clear()
    loader.pack(model, X, tmp_path / "a.pack")
