"""What a module has beside its parameters and buffers is the pack's, also where its code builds it anew."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from torch import nn
from torch.nn.utils import spectral_norm

from glowplug import loader
from glowplug.loader.attributes import attributes, place
from glowplug.loader.contents import read_contents
from glowplug.loader.modes import turned
from glowplug.loader.sources.file import open_file
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.strategies import STRATEGIES
from tests.loader import nets
from tests.loader.loads import start
from tests.loader.test_overlaps import entry, sealed

pytestmark = pytest.mark.torch

X = torch.linspace(-1, 1, 8).view(2, 4)
CONSTRUCTED = [name for name, one in STRATEGIES.items() if one.structure == "constructed"]


class Thing:
    """No module, and neither list nor dict."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Plain(nn.Module):
    """Multiplies by all that it has beside its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.scale = torch.ones(4)
        self.cache: Any = None
        self.tied = [self.layer.bias]
        self.parts = [torch.ones(4), {"a": torch.ones(4), "n": 1.0}, (torch.ones(4), Thing(torch.ones(4)))]
        self.hidden = [nn.Linear(4, 4)]
        self.wide = torch.ones(1).expand(4)

    def forward(self, x: Any) -> Any:
        if self.cache is None:
            self.cache = torch.full((4,), 5.0)
        first, named, (second, thing) = self.parts
        more = getattr(self, "more", torch.ones(4))
        others = first * named["a"] * named["n"] * second * thing.value * more * self.wide * self.tied[0]
        return self.hidden[0](self.layer(x)) * self.scale * self.cache * others * named.get("p", 1.0)


def changed() -> Plain:
    torch.manual_seed(1)
    model = Plain().eval()
    _, named, (second, thing) = model.parts
    model.scale = torch.arange(4.0)
    model.cache = torch.tensor([2.0, 3.0, 5.0, 7.0])
    model.tied[0] = torch.tensor([1.0, 2.0, 1.0, 2.0])
    model.more = model.layer.weight.detach()[1]
    model.parts[0] = torch.tensor([1.0, 1.0, 2.0, 2.0])
    named.update(a=model.parts[0], n=torch.tensor([0.5, 0.5, 0.5, 0.25]))
    second.fill_(3)
    thing.value = torch.tensor([4.0, 3.0, 2.0, 1.0])
    named["p"] = nn.Parameter(torch.tensor([1.0, 1.0, 1.0, 3.0]), requires_grad=False)
    model.wide = torch.full((1,), 1.5).expand(4)
    return model


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(pack, answer)"""
    model, path = changed(), tmp_path_factory.mktemp("plain") / "p.pack"
    loader.pack(model, X, path)
    with torch.inference_mode():
        return path, model(X)


@pytest.mark.parametrize("device", ["cpu", "virtual"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_gives_what_was_packed(packed: Any, name: str, device: str) -> None:
    path, expected = packed
    model = loader.load(path, device, name, build=Plain)
    with torch.inference_mode():
        assert torch.equal(model(X), expected)
    assert model.parts[0] is model.parts[1]["a"]
    assert isinstance(model.parts[1]["p"], nn.Parameter)
    assert not model.parts[1]["p"].requires_grad
    assert model.tied[0] is not model.layer.bias


@pytest.mark.parametrize("name", CONSTRUCTED)
def test_what_shares_memory_when_it_is_built_and_not_when_it_was_packed(tmp_path: Path, name: str) -> None:
    """Its first pass gives `spectral_norm` a weight of its own."""

    def build() -> nn.Module:
        return nn.Sequential(spectral_norm(nn.Linear(4, 4)))

    torch.manual_seed(1)
    model = build().eval()
    loader.pack(model, X, tmp_path / "s.pack")
    loaded = loader.load(tmp_path / "s.pack", strategy=name, build=build)
    with torch.inference_mode():
        assert torch.equal(loaded[0].weight, model[0].weight)
        assert torch.equal(loaded(X), model(X))


def put(path: str, value: Any) -> Callable[[], Plain]:
    def build() -> Plain:
        model = Plain()
        place(model, path).put(value)
        return model

    return build


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (put("scale", torch.ones(3)), r"scale: the module has float32\[3\], the file float32\[4\]"),
        (
            put("parts", []),
            r"parts\.0: the module has no place for it \(parts has 0 parts\); .* without build",
        ),
        (put("parts", None), r"parts\.\d.*: the module has no place for it \(there is no parts\)"),
        (put("parts", 1.5), r"parts\.0: the module has no place for it \(a float has no parts\)"),
        (put("parts", [0, {}, (0, Thing(0))]), r"parts\.2\.0: it would be another one in a tuple"),
    ],
)
def test_what_has_no_place_is_refused(packed: Any, build: Any, told: str) -> None:
    with pytest.raises(loader.WeightsMismatch, match=told):
        loader.load(packed[0], strategy="cicada", build=build)


def scaled_by(holder: Any) -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4))
    model.holder = holder
    return model


@pytest.mark.parametrize(
    "holder", [{torch.ones(3)}, {2: torch.ones(3)}, {"a.b": torch.ones(3)}, partial(torch.add, torch.ones(3))]
)
def test_what_nobody_finds_is_refused_but_where_the_skeleton_has_it(tmp_path: Path, holder: Any) -> None:
    loader.pack(scaled_by(holder), X, tmp_path / "h.pack")
    told = (
        r"it is not known where in a module it belongs; the file has float32\[3\] .*: load it without build="
    )
    with pytest.raises(loader.WeightsMismatch, match=told):
        loader.load(tmp_path / "h.pack", strategy="pisel", build=lambda: scaled_by(None))
    assert type(loader.load(tmp_path / "h.pack", strategy="pisel").holder) is type(holder)


def test_one_of_two_places_is_not_enough(tmp_path: Path) -> None:
    model, one = scaled_by(None), torch.ones(3)
    model.known, model.holder = one, {one}
    loader.pack(model, X, tmp_path / "h.pack")
    with pytest.raises(loader.WeightsMismatch, match="it is not known where"):
        loader.load(tmp_path / "h.pack", strategy="pisel", build=lambda: scaled_by(None))


def test_a_pack_that_says_nothing_of_places_is_refused(packed: Any) -> None:
    content = sealed(packed[0], lambda header: msgspec.structs.replace(header, attributes=()))
    with pytest.raises(loader.WeightsMismatch, match="a tensor without a name: it is not known where"):
        start(MemorySource(content, "p.pack"), "cicada", Plain)
    with torch.inference_mode():
        assert torch.equal(start(MemorySource(content, "p.pack"), "streamed", Plain).model(X), packed[1])


class Shared:
    """A class, which is the whole process's."""

    relu: Any = None

    def method(self) -> None:
        return


def shared_function() -> None:
    return


@functools.lru_cache
def cached_function() -> None:
    return


class Fussy(dict[str, Any]):
    def __setitem__(self, name: str, value: Any) -> None:
        raise TypeError("numbers only")


OUTSIDE = {
    "a module": nn.functional,
    "its globals": vars(nn.functional),
    "all modules": sys.modules,
    "a class": Shared,
    "a class of torch": nn.Linear,
    "a function": shared_function,
    "a cached function": cached_function,
    "a bound method": Shared().method,
    "a builtin": len,
}


@pytest.mark.parametrize("only", [None, ()])
@pytest.mark.parametrize("outside", OUTSIDE)
def test_nothing_is_put_outside_of_the_model(tmp_path: Path, outside: str, only: Any) -> None:
    """What a pack says lies in an attribute is put into what the whole process has by nobody's leave."""
    one = OUTSIDE[outside]
    loader.pack(scaled_by({"relu": torch.ones(3)}), X, tmp_path / "h.pack")
    before = dict(getattr(one, "__dict__", {})), set(sys.modules)
    told = r"holder\.relu: the module has no place for it \(a \w+ has no parts\)"
    with pytest.raises(loader.WeightsMismatch, match=told):
        loader.load(tmp_path / "h.pack", strategy="pisel", build=lambda: scaled_by(one), only=only)
    assert (dict(getattr(one, "__dict__", {})), set(sys.modules)) == before


@pytest.mark.parametrize("outside", OUTSIDE)
def test_nothing_is_found_outside_of_the_model(outside: str) -> None:
    one = OUTSIDE[outside]
    with_tensor = {**one, "relu": torch.ones(3)} if isinstance(one, dict) else one
    assert [path for path, _ in attributes(scaled_by(one)) if path.startswith("holder")] == []
    if isinstance(one, dict):
        assert "holder.relu" in dict(attributes(scaled_by(with_tensor)))  # a copy is the object's own


@pytest.mark.parametrize("path", ["holder.__class__", "holder.__dict__", "__class__", "holder.__init__.x"])
def test_no_way_goes_by_what_python_has_of_every_object(path: str) -> None:
    with pytest.raises(LookupError, match="is no part"):
        place(scaled_by(Thing(torch.ones(3))), path)
    with pytest.raises(LookupError, match="is no part"):
        place(scaled_by({"__class__": {}, "__dict__": {}, "__init__": {}}), path)


def test_no_code_is_replaced_by_a_tensor() -> None:
    with pytest.raises(LookupError, match="it is a function there"):
        place(scaled_by(Thing(shared_function)), "holder.value")


def test_a_number_of_many_digits_is_no_place() -> None:
    with pytest.raises(LookupError, match="has 1 parts"):
        place(scaled_by([torch.ones(3)]), "holder." + "9" * 5000)


def test_what_takes_no_tensor_is_no_place(tmp_path: Path) -> None:
    loader.pack(scaled_by({"relu": torch.ones(3)}), X, tmp_path / "h.pack")
    told = r"holder\.relu: the module has no place for it \(numbers only\); the file has float32\[3\]"
    with pytest.raises(loader.WeightsMismatch, match=told):
        loader.load(tmp_path / "h.pack", strategy="pisel", build=lambda: scaled_by(Fussy()))


@pytest.mark.parametrize(
    "path", ["", "nowhere.at.all", "layer", "scale.x", "parts.-1", "parts.x", "..", "_buffers"]
)
def test_a_place_that_is_none_gives_a_wrong_model_no_value(packed: Any, path: str) -> None:
    def change(header: Any) -> Any:
        (number, _), *others = header.attributes
        return msgspec.structs.replace(header, attributes=((number, path), *others))

    with pytest.raises(loader.WeightsMismatch, match="the module has no place for it"):
        start(MemorySource(sealed(packed[0], change), "p.pack"), "cicada", Plain)


def test_a_place_of_a_tensor_that_is_not_there_is_no_pack(packed: Any) -> None:
    content = sealed(packed[0], lambda header: msgspec.structs.replace(header, attributes=((99, "scale"),)))
    with pytest.raises(loader.PackCorrupt, match="it names tensors that it does not hold"):
        read_contents(MemorySource(content, "p.pack"))


def test_places_are_found_again() -> None:
    model = changed()
    found = dict(attributes(model))
    assert sorted(found) == [
        "cache", "hidden.0.bias", "hidden.0.weight", "more", "parts.0", "parts.1.a", "parts.1.n", "parts.1.p",
        "parts.2.0", "parts.2.1.value", "scale", "tied.0", "wide",
    ]  # fmt: skip
    assert all(place(model, path).value is tensor for path, tensor in found.items())


def test_weights_that_are_attributes_too_need_no_place(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model, x = nets.Recurrent().eval(), torch.linspace(-1, 1, 12).view(1, 3, 4)
    loader.pack(model, x, tmp_path / "r.pack")
    loaded = loader.load(tmp_path / "r.pack", strategy="cicada", build=nets.Recurrent)
    with torch.inference_mode():
        assert torch.equal(loaded(x), model(x))
    assert loaded.lstm._flat_weights[0] is loaded.lstm.weight_ih_l0


def mixed() -> nn.Module:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(4)), nn.Linear(4, 4))
    model[1].eval()
    model[1][1].train()
    return model


@pytest.mark.parametrize("build", [mixed, lambda: mixed().eval(), lambda: mixed().train()])
@pytest.mark.parametrize("name", STRATEGIES)
def test_modules_are_in_the_mode_in_which_they_were_packed(tmp_path: Path, name: str, build: Any) -> None:
    torch.manual_seed(1)
    model = build()
    loader.pack(model, X, tmp_path / "m.pack")
    loaded = loader.load(tmp_path / "m.pack", strategy=name, build=mixed)
    assert [one.training for one in loaded.modules()] == [one.training for one in model.modules()]


def test_only_where_the_mode_changes_is_told() -> None:
    assert turned(mixed()) == ("", "1", "1.1")
    assert turned(mixed().train()) == ("",)
    assert turned(mixed().eval()) == ()
    assert turned([mixed().eval(), {"a": mixed().train()}]) == ("1.a",)


def test_a_plain_file_knows_no_mode(tmp_path: Path) -> None:
    torch.save(mixed().state_dict(), tmp_path / "m.pt")
    model = start(open_file(tmp_path / "m.pt"), "cicada", mixed).model
    assert not any(one.training for one in model.modules())


@pytest.mark.parametrize("values", [{"dtype": "nonsense"}, {"dtype": "int32", "requires_grad": True}])
def test_an_entry_of_which_there_is_no_tensor_is_refused(packed: Any, values: Any) -> None:
    header = read_contents(open_file(packed[0])).header
    number = next(number for number, path in header.attributes if path == "cache")
    content = sealed(packed[0], entry("tensors", number, **values))
    with pytest.raises(loader.PackCorrupt, match=r"tensor 'cache' \(unit 0, bytes .*\) cannot be made: "):
        start(MemorySource(content, "p.pack"), "cicada", Plain)


class Cached(nn.Module):
    """Has its scale by its first pass only, and a buffer of no elements."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4, device="cpu")
        self.register_buffer("none", torch.empty(0, 4, device="cpu"))
        self.scale: Any = None

    def forward(self, x: Any) -> Any:
        if self.scale is None:
            self.scale = torch.ones(4, device="cpu")
        return self.layer(x) * self.scale


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_default_device_of_the_process_is_not_the_models(tmp_path: Path, name: str) -> None:
    model = Cached().eval()
    model.scale = torch.arange(4.0)
    loader.pack(model, X, tmp_path / "c.pack")
    with torch.device("meta"):
        loaded = loader.load(tmp_path / "c.pack", strategy=name, build=Cached)
    assert loaded.none.device.type == loaded.scale.device.type == "cpu"
    with torch.inference_mode():
        assert torch.equal(loaded(X), model(X))
