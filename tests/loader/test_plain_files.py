"""Files of weights as people have them go the pipeline's way: from any source, by any strategy."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glowplug import loader
from glowplug.loader.construction import completed_at
from glowplug.loader.contents import read_contents
from glowplug.loader.errors import SourceMissing
from glowplug.loader.sources.file import open_file
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.tensors import views
from tests.depth import examples
from tests.loader import nets
from tests.loader.loads import start

pytestmark = pytest.mark.torch

IDS = torch.arange(24).view(2, 12)


def saved(obj: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(obj, file, **options)
    return file.getvalue()


def seeded(build: Any) -> Any:
    torch.manual_seed(3)
    return nets.randomised(build())


@pytest.mark.parametrize("lazy", ["conj", "neg"])
def test_a_tensor_that_is_not_what_is_stored_is_refused(lazy: str) -> None:
    """Its bits are read as they lie there; nobody would apply what torch puts off."""
    numbers = torch.tensor([1 + 2j, 3 - 4j]).conj()
    content = saved({"w": numbers if lazy == "conj" else numbers.imag})
    with pytest.raises(loader.WeightsUnreadable, match=r"x\.pt: .*resolve_conj\(\)\.resolve_neg\(\)"):
        read_contents(MemorySource(content, "x.pt"))
    resolved = saved({"w": numbers.resolve_conj(), "i": numbers.imag.resolve_neg()})
    assert len(read_contents(MemorySource(resolved, "x.pt")).header.tensors) == 2


class Unhashable:
    """Builds, and is told apart from no other: as a dataclass that compares."""

    __hash__ = None  # type: ignore[assignment]
    __slots__ = ()

    def __call__(self) -> Any:
        return nets.Wide()


@pytest.mark.parametrize("name", ["pisel", "cicada", "streamed"])
def test_whatever_can_be_called_builds(name: str) -> None:
    model, x = seeded(nets.Wide).eval(), torch.linspace(-1, 1, 512).view(1, 512)
    source = MemorySource(saved(model.state_dict()), "x.pt")
    with torch.inference_mode():
        assert torch.equal(start(source, name, Unhashable()).model.eval()(x), model(x))


@pytest.fixture(params=["wide", "conv", "tied", "recurrent"])
def net(request: pytest.FixtureRequest) -> Any:
    """(build, inputs, a model)"""
    build, inputs = {
        "wide": (nets.Wide, torch.linspace(-1, 1, 512).view(1, 512)),
        "conv": (nets.ConvNet, torch.linspace(-1, 1, 300).view(1, 3, 10, 10)),
        "tied": (nets.TiedTransformer, IDS),
        "recurrent": (nets.Recurrent, torch.linspace(-1, 1, 24).view(2, 3, 4)),
    }[request.param]
    return build, inputs, seeded(build)


@pytest.mark.parametrize("name", ["pisel", "cicada", "streamed", "mapped"])
def test_torch_files_are_loaded_by_the_same_pipeline(net: Any, name: str, tmp_path: Path) -> None:
    build, inputs, model = net
    (tmp_path / "net.pt").write_bytes(saved(model.state_dict()))
    loaded = start(open_file(tmp_path / "net.pt"), name, build).model
    with torch.inference_mode():
        assert torch.equal(loaded(inputs), model(inputs))


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_are_unwrapped(wrapper: str | None, prefix: str) -> None:
    model = seeded(nets.Wide)
    state = {f"{prefix}{name}": value for name, value in model.state_dict().items()}
    content = saved({wrapper: state, "epoch": 3} if wrapper else state)
    loaded = start(MemorySource(content, "net.pt"), "streamed", nets.Wide).model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


def test_files_of_before_archives_are_loaded_on_this_machine(tmp_path: Path) -> None:
    model = seeded(nets.Wide)
    (tmp_path / "old.pt").write_bytes(saved(model.state_dict(), _use_new_zipfile_serialization=False))
    loaded = loader.load(tmp_path / "old.pt", build=nets.Wide)
    assert torch.equal(loaded.layers[0].weight, model.layers[0].weight)
    with pytest.raises(loader.WeightsUnreadable, match=r"old\.pt is no pack.*since 1\.6"):
        loader.load(tmp_path / "old.pt", "virtual", build=nets.Wide)


def test_what_torch_saves_has_its_shapes_dtypes_and_places() -> None:
    base = torch.arange(24, dtype=torch.int16)
    state = {
        "whole": base, "part": base[4:12].view(2, 4), "turned": base.view(4, 6).t(),
        "none": torch.empty(0, 3), "one": torch.tensor(7.0), "wide": torch.ones(2).cdouble(),
        "small": torch.ones(3).to(torch.float8_e4m3fn),
    }  # fmt: skip
    content = saved(state)
    found = read_contents(MemorySource(content, "net.pt"))
    weights = memoryview(bytearray(content[found.weights_offset :]))
    for entry, value in zip(found.header.tensors, views(found.header, weights, "net.pt"), strict=True):
        expected = state[entry.name]
        assert (value.dtype, value.shape) == (expected.dtype, expected.shape)
        assert value.stride() == expected.stride() or not value.numel()
        assert value.tolist() == expected.tolist()
    whole = next(entry for entry in found.header.tensors if entry.name == "whole")
    assert found.header.storages[whole.storage].nbytes == 48, "views share their storage"


class Program:
    def __reduce__(self) -> Any:
        return open, ("touched", "w")


@pytest.mark.parametrize("obj", [{"a": Program()}, [torch.ones(2)], {"a": torch.ones(2).to_sparse()}, {}])
def test_what_is_more_or_less_than_tensors_by_name_is_refused(
    obj: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(loader.WeightsUnreadable, match=r"net\.pt .*save model\.state_dict"):
        read_contents(MemorySource(saved(obj), "net.pt"))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("squeezed_part", ["", "data.pkl", "byteorder", "data/0"])
def test_compressed_archives_are_refused(squeezed_part: str) -> None:
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved({"a": torch.ones(99)}))) as plain,
        zipfile.ZipFile(content, "w") as squeezed,
    ):
        for info in plain.infolist():
            kind = zipfile.ZIP_DEFLATED if info.filename.endswith(squeezed_part) else zipfile.ZIP_STORED
            squeezed.writestr(info.filename, plain.read(info), kind)
    with pytest.raises(loader.WeightsUnreadable, match="is compressed"):
        read_contents(MemorySource(content.getvalue(), "net.pt"))


@pytest.mark.parametrize("part", ["data.pkl", "byteorder", "data/0"])
def test_encrypted_archives_are_refused(part: str) -> None:
    content = bytearray(saved({"a": torch.ones(99)}))
    name = content.rindex(part.encode())  # in the archive's directory, at its end
    flags = content.rindex(b"PK\1\2", 0, name) + 8
    content[flags] |= 1
    with pytest.raises(loader.WeightsUnreadable, match=f"{part} is encrypted"):
        read_contents(MemorySource(bytes(content), "net.pt"))


@settings(
    max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_torch_file_is_refused_or_has_tensors_that_lie_in_it(data: st.DataObject) -> None:
    content = bytearray(saved({"a": torch.ones(5, 3), "b": torch.zeros(7, dtype=torch.int64)}))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = read_contents(MemorySource(bytes(content), "net.pt"))
    except loader.WeightsUnreadable:
        return
    for entry in found.header.tensors:
        storage = found.header.storages[entry.storage]
        assert found.weights_offset + storage.offset + storage.nbytes <= len(content)


class Gone(MemorySource):
    """Answers so many reads, and then says that there is nothing of this name."""

    left = 0

    def read_into(self, buffer: Any, offset: int, length: int) -> None:
        if not self.left:
            raise SourceMissing(f"{self.name}: it is gone")
        self.left -= 1
        super().read_into(buffer, offset, length)


@pytest.mark.parametrize("answered", range(5))
def test_a_store_that_fails_is_told_of_and_not_the_file(answered: int) -> None:
    source = Gone(saved({"a": torch.ones(9), "b": torch.ones(9)}), "net.pt")
    source.left = answered
    with pytest.raises(SourceMissing, match=r"net\.pt: it is gone"):
        read_contents(source)


def safetensors_bytes(header: dict[str, Any], nbytes: int) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(nbytes)


@pytest.mark.parametrize(
    ("shape", "offsets"),
    [
        ([4, 4], [0, 32]),
        ([2], [0, 64]),
        ([-4, -4], [0, 64]),
        ([4, 4], [64, 0]),
        ([4, 4], [32, 96]),
        (4, [0, 16]),
    ],
)
def test_a_safetensors_entry_that_contradicts_itself_is_refused(shape: Any, offsets: list[int]) -> None:
    header = {
        "a": {"dtype": "F32", "shape": shape, "data_offsets": offsets},
        "b": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]},
    }
    with pytest.raises(loader.WeightsUnreadable, match=r"net\.safetensors is truncated or no safetensors"):
        read_contents(MemorySource(safetensors_bytes(header, 64), "net.safetensors"))


@pytest.mark.parametrize("name", ["pisel", "pisel+noinit", "cicada", "streamed", "mapped"])
@pytest.mark.parametrize("shift", [0, 4, 8, 12])
def test_tensors_begin_where_kernels_expect_them_wherever_their_file_has_them(
    name: str, shift: int, tmp_path: Path
) -> None:
    """A product with a weight that begins elsewhere ends in other bits, on some processors."""
    from safetensors.torch import save

    model, x = seeded(nets.Wide), torch.linspace(-1, 1, 512).view(1, 512)
    data = save(model.state_dict())
    (header_nbytes,) = struct.unpack("<Q", data[:8])
    padding = (shift - 8 - header_nbytes) % 16
    text = data[8 : 8 + header_nbytes] + b" " * padding
    path = tmp_path / "plain.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + header_nbytes :])
    loaded = start(open_file(path), name, nets.Wide)
    loaded.wait()
    assert [tensor.data_ptr() % 16 for tensor in loaded.model.state_dict().values()] == [0] * len(
        model.state_dict()
    )
    with torch.inference_mode():
        assert torch.equal(loaded.model(x), model.eval()(x))


@pytest.mark.parametrize("name", ["pisel", "cicada"])
def test_a_tied_weight_may_be_there_under_each_name_but_not_with_two_values(name: str) -> None:
    model = seeded(nets.TiedTransformer)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    assert state["out.weight"].data_ptr() != state["tokens.weight"].data_ptr()
    loaded = start(MemorySource(saved(state), "net.pt"), name, nets.TiedTransformer).model
    with torch.inference_mode():
        assert torch.equal(loaded(IDS), model(IDS))
        assert loaded.out.weight is loaded.tokens.weight
    state["out.weight"][3] += 1
    loading = start(MemorySource(saved(state), "net.pt"), name, nets.TiedTransformer)
    with pytest.raises(loader.WeightsMismatch, match=r"out\.weight: is tied to tokens\.weight.*other values"):
        loading.wait()


@pytest.mark.parametrize("name", ["pisel", "cicada", "streamed", "mapped"])
@pytest.mark.parametrize("kept", ["both", "first", "again", "parallel", "copies"])
def test_a_module_under_two_names_may_be_there_under_each_of_them(
    name: str, kept: str, tmp_path: Path
) -> None:
    model, x = seeded(nets.Shared), torch.linspace(-1, 1, 512).view(1, 512)
    state = dict(model.state_dict())
    if kept in ("first", "again"):
        state = {key: value for key, value in state.items() if key.startswith((kept, "head"))}
    elif kept == "parallel":
        state = {f"module.{key}": value for key, value in state.items()}
    elif kept == "copies":
        state = {key: value.clone() for key, value in state.items()}
    (tmp_path / "net.pt").write_bytes(saved(state))
    loading = start(open_file(tmp_path / "net.pt"), name, nets.Shared)
    loading.wait()
    assert loading.model.again is loading.model.first
    with torch.inference_mode():
        assert torch.equal(loading.model(x), model(x))


def test_what_is_missing_of_a_module_under_two_names_is_told_once() -> None:
    state = {key: value for key, value in seeded(nets.Shared).state_dict().items() if key[:4] == "head"}
    with pytest.raises(loader.WeightsMismatch) as caught:
        start(MemorySource(saved(state), "net.pt"), "cicada", nets.Shared)
    assert [line.partition(":")[0] for line in caught.value.problems] == [
        "first.0.weight", "first.0.bias", "first.1.weight", "first.1.bias",
        "first.1.running_mean", "first.1.running_var",
    ]  # fmt: skip


def test_both_names_of_a_module_are_complete_at_once() -> None:
    model = nets.Shared()
    completed = completed_at(model, list(model.modules()))
    assert completed["again.0.weight"] == completed["first.0.weight"] == 3
