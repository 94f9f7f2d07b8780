"""What a module keeps of its weights beside them has the values that they have, once they have them."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from torch import nn

from glowplug import loader
from glowplug.loader.roots import modules_of
from glowplug.loader.sharing import held_elsewhere, overlapping, sharing
from glowplug.loader.sources.file import open_file
from glowplug.loader.strategies import STRATEGIES
from tests.loader import nets
from tests.loader.loads import Held, start

pytestmark = pytest.mark.torch

X = torch.linspace(-1, 1, 24).view(3, 8)
CONSTRUCTED = [name for name, one in STRATEGIES.items() if one.structure == "constructed"]


def test_what_else_a_module_keeps_of_its_weights_is_assigned_too() -> None:
    right, model = nets.Aliased(), nets.Aliased()
    state = {name: tensor.clone() for name, tensor in right.state_dict().items()}
    loader.assign(model, state, "w.pt")
    assert torch.equal(model(X), right(X))
    assert [layer.weight.requires_grad for layer in model.layers] == [True, False, True]
    assert model.listed[0] is model.layers[0].weight
    assert model.layers[0].weight.data_ptr() == state["layers.0.weight"].data_ptr(), "no copy"
    assert model.layers[2].weight.data_ptr() == model.turned.data_ptr()


def test_tensors_on_meta_are_replaced() -> None:
    right = nets.ConvNet()
    with torch.device("meta"):
        model = nets.ConvNet()
    loader.assign(model, right.state_dict(), "w.pt")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), right.parameters(), strict=True))


@pytest.mark.parametrize("built_inside", [False, True])
@pytest.mark.parametrize("read_inside", [False, True])
def test_inference_mode_makes_no_difference(built_inside: bool, read_inside: bool) -> None:
    right = nets.Aliased()
    with torch.inference_mode(read_inside):
        state = {name: tensor.clone() for name, tensor in right.state_dict().items()}
    with torch.inference_mode(built_inside):
        model = nets.Aliased()
    loader.assign(model, state, "w.pt")
    with torch.inference_mode():
        assert torch.equal(model(X), right(X))


class Twice(nn.Module):
    """Two parameters and an attribute, on the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.zeros(4)
        self.one, self.two = nn.Parameter(self.memory), nn.Parameter(self.memory)


def test_memory_that_two_share_cannot_have_the_values_of_both() -> None:
    model = Twice()
    loader.assign(model, {"one": torch.ones(4), "two": torch.ones(4)}, "w.pt")
    assert model.memory.tolist() == [1.0] * 4
    with pytest.raises(loader.WeightsMismatch, match="one: shares its memory with another one"):
        loader.assign(model, {"one": torch.full((4,), 2.0), "two": torch.zeros(4)}, "w.pt")
    assert model.memory.tolist() == [1.0] * 4, "and has those from before"


class Halves(nn.Module):
    """Parameters that lie in one memory, which is an attribute too: apart from each other, or by columns."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.memory = torch.zeros(4, 4)
        self.one, self.two = map(nn.Parameter, self.memory.split(2, dim))


@pytest.mark.parametrize("dim", [0, 1])
def test_in_one_memory_each_has_its_own_part(dim: int) -> None:
    model = Halves(dim)
    state = {"one": torch.full_like(model.one, float("nan")), "two": torch.ones_like(model.two)}
    loader.assign(model, {name: value.detach() for name, value in state.items()}, "w.pt")
    first, second = model.memory.split(2, dim)
    assert first.isnan().all()
    assert second.eq(1).all()


def test_who_uses_memory_too_is_counted_exactly() -> None:
    memory = torch.zeros(8)
    one, two, alone = memory[:4], memory[4:], torch.zeros(4).view(2, 2)
    assert sharing([one, two, alone]) == {id(one), id(two)}
    assert sharing([one, two, memory]) == set()
    array = alone.numpy()
    assert sharing([alone]) == {id(alone)}
    del array
    assert sharing([alone]) == set()


def test_who_has_bytes_in_common_is_told() -> None:
    memory, other = torch.zeros(8), torch.zeros(8)
    tensors = [memory[:3], memory[2:6], memory[5:], memory[3:3], other, memory[3:5]]
    numbers = {id(tensor): number for number, tensor in enumerate(tensors)}
    found = {numbers[one]: sorted(map(numbers.get, others)) for one, others in overlapping(tensors).items()}
    assert found == {0: [1], 1: [0, 2, 5], 5: [1], 2: [1]}
    assert overlapping([other, other, memory]) == {}


def test_who_refers_to_a_tensor_is_counted_exactly() -> None:
    tensors = [torch.zeros(1), torch.zeros(1)]
    tensors.append(tensors[0])
    places = {"a": tensors[0], "b": tensors[0]}
    assert held_elsewhere(tensors, [2, 0, 2]) == []
    kept = [tensors[1]]
    assert held_elsewhere(tensors, [2, 0, 2]) == [1]
    assert held_elsewhere(tensors, [1, 1, 1]) == [0, 2]
    del places, kept


@pytest.fixture(scope="module")
def aliased(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(pack, plain file, answer)"""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("aliased")
    torch.manual_seed(1)
    model = nets.Aliased().eval()
    loader.pack(model, X, folder / "a.pack")
    save_file(model.state_dict(), folder / "a.safetensors")
    with torch.inference_mode():
        return folder / "a.pack", folder / "a.safetensors", model(X)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("name", [*CONSTRUCTED, "mapped"])
def test_every_strategy_gives_them_to_whoever_holds_them(aliased: Any, name: str, plain: bool) -> None:
    path, plain_path, expected = aliased
    model = start(open_file(plain_path if plain else path), name, nets.Aliased).model
    with torch.inference_mode():
        assert torch.equal(model(X), expected)


class Overlapping(nn.Module):
    """Two parameters that have four values in common, in a memory that is an attribute, too, or is not."""

    def __init__(self, held: bool) -> None:
        super().__init__()
        memory = torch.zeros(12)
        self.one, self.two = nn.Parameter(memory[:8]), nn.Parameter(memory[4:])
        if held:
            self.memory = memory

    def forward(self, x: Any) -> Any:
        return self.one * x + self.two


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("name", CONSTRUCTED)
def test_no_strategy_gives_one_of_two_the_values_of_the_other(tmp_path: Path, name: str, held: bool) -> None:
    from safetensors.torch import save_file

    def loaded(one: Any, two: Any) -> Overlapping:
        save_file({"one": one, "two": two}, tmp_path / "o.safetensors")
        loading = start(open_file(tmp_path / "o.safetensors"), name, lambda: Overlapping(held))
        loading.wait()
        model = loading.model
        assert isinstance(model, Overlapping)
        assert torch.equal(model.one, one)
        assert torch.equal(model.two, two)
        return model

    values = torch.arange(12.0)
    loaded(values[:8].clone(), values[4:].clone())
    one, two = torch.ones(8), torch.zeros(8)
    if not held and STRATEGIES[name].apply == "assign":
        loaded(one, two)
        return
    with pytest.raises(loader.WeightsMismatch, match=r"(one|two): shares its memory with another one"):
        loaded(one, two)


def returned(source: Held, name: str, build: Callable[[], Any]) -> threading.Event:
    """Whether the object of a load is there; nothing is read before the source is let go."""
    done = threading.Event()

    def run() -> None:
        start(source, name, build)
        done.set()

    threading.Thread(target=run, daemon=True).start()
    return done


@pytest.mark.parametrize("name", ["cicada", "pisel", "mini"])
def test_a_build_is_handed_out_when_what_no_gate_guards_is_there(aliased: Any, name: str) -> None:
    source = Held(open_file(aliased[1]), 100)
    begun = returned(source, name, nets.Aliased)
    assert source.asked.wait(30)
    assert not begun.is_set()
    source.go.set()
    assert begun.wait(30)


def test_what_a_class_makes_again_is_there_when_the_object_is(tmp_path: Path) -> None:
    model, x = nets.Remade().eval(), torch.linspace(-1, 1, 512).view(1, 512)
    loader.pack(model, x, tmp_path / "r.pack")
    with loader.open_pack(tmp_path / "r.pack") as pack:
        exposed = {pack._header.tensors[number].name for number in pack._header.exposed}
    assert exposed == {"inner.weight", "inner.bias", "last.weight", "last.bias"}
    with torch.inference_mode():
        assert torch.equal(start(open_file(tmp_path / "r.pack"), "streamed").model(x), model(x))


def test_classes_of_torch_and_the_standard_library_expose_nothing(tmp_path: Path) -> None:
    from collections import OrderedDict

    content = {"all": OrderedDict(a=nets.ConvNet(), b=nn.GELU(), c=nn.TransformerEncoderLayer(8, 2, 8))}
    loader.write_pack(tmp_path / "o.pack", content)
    with loader.open_pack(tmp_path / "o.pack") as pack:
        assert pack._header.exposed == ()


class Named(nets.Holder):
    """An instance that names its model's part as well."""

    def __init__(self, kept: bool) -> None:
        super().__init__(nets.Wide().eval())
        self.layers = self.model.layers
        if kept:
            self.weight = self.layers[0].weight


@pytest.mark.parametrize("kept", [False, True])
def test_a_module_that_is_named_twice_counts_once(tmp_path: Path, kept: bool) -> None:
    obj = Named(kept)
    assert len(list(modules_of(obj))) == 8
    loader.write_pack(tmp_path / "n.pack", obj)
    with loader.open_pack(tmp_path / "n.pack") as pack:
        exposed = [pack._header.tensors[number].name for number in pack._header.exposed]
    assert exposed == (["model.layers.0.weight"] if kept else [])


@pytest.mark.parametrize("kept", [False, True])
def test_a_pack_that_counted_it_twice_is_not_believed(
    tmp_path: Path, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glowplug.loader.writer._exposed", lambda *_: ())
    loader.write_pack(tmp_path / "n.pack", Named(kept))
    monkeypatch.undo()
    with loader.open_pack(tmp_path / "n.pack") as pack:
        assert pack._header.exposed == ()
        offset = pack.info.weights_offset
    source = Held(open_file(tmp_path / "n.pack"), offset)
    begun = returned(source, "streamed", Named)
    if kept:
        assert source.asked.wait(30)
        assert not begun.is_set()
        source.go.set()
    assert begun.wait(30), "nothing else is waited for"
    source.go.set()


def test_a_module_that_is_named_twice_is_watched_once() -> None:
    obj = Named(False)
    with loader.trace(obj) as seen:
        obj.model(torch.zeros(1, 512))
    assert {path for path in seen.compute_s if path.endswith("layers")} == {"model.layers"}


class Expanded(nn.Module):
    """Its rows are one, and the memory of that is an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.row = torch.zeros(4)
        self.register_buffer("rows", self.row.expand(3, 4))


@pytest.mark.parametrize("name", ["pisel", "cicada", "assign"])
def test_elements_that_are_one_get_one_value(tmp_path: Path, name: str) -> None:
    def loaded(rows: Any) -> Expanded:
        if name == "assign":
            model = Expanded()
            loader.assign(model, {"rows": rows}, "e.pt")
            return model
        torch.save({"rows": rows}, tmp_path / "e.pt")
        loading = start(open_file(tmp_path / "e.pt"), name, Expanded)
        loading.wait()
        return loading.model  # type: ignore[no-any-return]

    rows = torch.arange(4.0).expand(3, 4)
    model = loaded(rows)
    assert torch.equal(model.rows, rows)
    assert model.row.tolist() == [0, 1, 2, 3]
    with pytest.raises(loader.WeightsMismatch, match=r"rows: "):
        loaded(torch.arange(12.0).view(3, 4))
