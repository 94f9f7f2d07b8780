"""A pack that was cut or changed is refused, or answers as before: never something else."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glowplug import loader
from glowplug.loader.format import BLOCK_BYTES, PREAMBLE_BYTES
from glowplug.loader.sources.memory import MemorySource
from tests.depth import examples
from tests.loader import nets
from tests.loader.loads import start

pytestmark = pytest.mark.torch

X = torch.linspace(-1, 1, 12).view(3, 4)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "net.pack"
    loader.pack(nets.Reversed().eval(), X, path)
    return path


def answer(path: Path) -> Any:
    with loader.open_pack(path) as pack:
        pack.verify()
        prime = pack.prime()
        model: Any = pack.load()
    assert prime is not None
    prime.run(model)
    with torch.inference_mode():
        return model(X)


@settings(
    max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_changed_byte_is_found_or_without_effect(data: st.DataObject, sound: Path, tmp_path: Path) -> None:
    content = bytearray(sound.read_bytes())
    # Header, skeleton and prime fill the beginning; most of the rest of so small a file is padding.
    place = data.draw(st.one_of(st.integers(0, 3000), st.integers(0, len(content) - 1)))
    content[place] ^= data.draw(st.integers(1, 255))
    damaged = tmp_path / "damaged.pack"
    damaged.write_bytes(content)
    try:
        found = answer(damaged)
    except loader.PackCorrupt:
        return
    assert torch.equal(found, answer(sound))


@settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_changed_byte_on_the_way_is_found_or_without_effect(data: st.DataObject, sound: Path) -> None:
    content = bytearray(sound.read_bytes())
    place = data.draw(st.one_of(st.integers(0, 3000), st.integers(0, len(content) - 1)))
    content[place] ^= data.draw(st.integers(1, 255))
    try:
        loading = start(MemorySource(bytes(content), "damaged.pack"), "streamed")
        loading.wait()
    except loader.PackCorrupt:
        return
    except loader.WeightsUnreadable:
        assert place < 8, "it does not look like a pack any more"
        return
    with torch.inference_mode():
        assert torch.equal(loading.model(X), answer(sound))


@pytest.mark.parametrize("what", ["blocks", "units"])
def test_parts_in_another_order_are_damage(what: str, wide: Any) -> None:
    path, offset, _, _ = wide
    with loader.open_pack(path) as pack:
        one, other = pack.info.units[0], pack.info.units[1]
    length = BLOCK_BYTES if what == "blocks" else min(one.nbytes, other.nbytes)
    content = bytearray(path.read_bytes())
    first, second = (slice(offset + unit.offset, offset + unit.offset + length) for unit in (one, other))
    content[first], content[second] = content[second], content[first]
    loading = start(MemorySource(bytes(content), "mixed.pack"), "streamed")
    with pytest.raises(loader.PackCorrupt, match=r"mixed\.pack: unit [01] \(layers: layers"):
        loading.wait()


def test_weights_of_another_pack_are_damage(wide: Any, tmp_path: Path) -> None:
    """Its header is right, and so are the weights, but for each other."""
    path, offset, x, _ = wide
    loader.pack(nets.Wide().eval(), x, tmp_path / "other.pack")
    content = path.read_bytes()[:offset] + (tmp_path / "other.pack").read_bytes()[offset:]
    loading = start(MemorySource(content, "mixed.pack"), "streamed")
    with pytest.raises(loader.PackCorrupt, match=r"mixed\.pack: unit \d"):
        loading.model(x)


def test_every_way_to_cut_is_found(sound: Path, tmp_path: Path) -> None:
    content = sound.read_bytes()
    with loader.open_pack(sound) as pack:
        info, layout = pack.info, pack._places
    bounds = {0, 1, 8, PREAMBLE_BYTES, layout.skeleton_offset, layout.prime_offset, layout.weights_offset}
    bounds |= {layout.weights_offset + unit.offset + unit.nbytes for unit in info.units} | {len(content)}
    for bound in bounds:
        for length in (bound - 1, bound, bound + 1):
            if 0 <= length < len(content):
                (tmp_path / "cut.pack").write_bytes(content[:length])
                with pytest.raises(loader.PackCorrupt, match=r"cut\.pack"):
                    loader.open_pack(tmp_path / "cut.pack")


def test_a_cut_file_says_how_much_is_there(sound: Path, tmp_path: Path) -> None:
    content = sound.read_bytes()
    (tmp_path / "cut.pack").write_bytes(content[:-5])
    with pytest.raises(loader.PackTruncated, match=f"{len(content) - 5} of {len(content)} bytes"):
        loader.open_pack(tmp_path / "cut.pack")


def test_a_cut_pack_names_what_it_lacks_first(wide: Any, tmp_path: Path) -> None:
    path, offset, _, _ = wide
    with loader.open_pack(path) as pack:
        unit, layout, header = pack.info.units[2], pack._places, pack._header
    second = next(one for one in header.tensors if one.name == f"{unit.layers[0]}.bias")
    bias = header.storages[second.storage]
    content = path.read_bytes()
    for length, missing in [
        (offset + unit.offset + 5, f"unit 2 .*tensors: .*weight\\) at byte {unit.offset + 5} of the weights"),
        (offset + bias.offset - 1, f"unit 2 .*tensors: .*at byte {bias.offset - 1} of the weights"),
        (offset + bias.offset, f"unit 2 .*tensors: {second.name}.*at byte {bias.offset} of the weights"),
        (len(content) - 1, "its timings is"),
        (layout.skeleton_offset + 1, "its skeleton is"),
        (layout.skeleton_offset - 1, "ends inside its header"),
    ]:
        (tmp_path / "cut.pack").write_bytes(content[:length])
        told = rf"cut\.pack has {length} of {len(content)} bytes.*{missing}"
        with pytest.raises(loader.PackTruncated, match=told):
            loader.open_pack(tmp_path / "cut.pack")
        with pytest.raises(loader.PackTruncated, match=told):
            start(MemorySource(content[:length], "cut.pack"), "streamed")


def test_a_grown_file_is_refused(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "grown.pack").write_bytes(sound.read_bytes() + b"x")
    with pytest.raises(loader.PackCorrupt, match="says"):
        loader.open_pack(tmp_path / "grown.pack")


def test_a_file_that_is_no_pack(tmp_path: Path) -> None:
    (tmp_path / "other.pack").write_bytes(b"PK\3\4" + bytes(1000))
    with pytest.raises(loader.PackCorrupt, match="not a Glowplug pack"):
        loader.open_pack(tmp_path / "other.pack")


def test_damaged_weights_are_named_by_their_layers(sound: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.pack"
    shutil.copy(sound, damaged)
    with loader.open_pack(sound) as pack:
        offset = pack.info.weights_offset
    content = bytearray(damaged.read_bytes())
    content[offset] ^= 1
    damaged.write_bytes(content)
    with (
        loader.open_pack(damaged) as pack,
        pytest.raises(
            loader.PackCorrupt,
            match=rf"unit 0 \(layers: first.*; tensors: .*\) is damaged between bytes {offset} and \d+",
        ),
    ):
        pack.verify()


def test_damage_in_a_large_unit_is_named_by_its_block(wide: Any, tmp_path: Path) -> None:
    path, offset, _, _ = wide
    with loader.open_pack(path) as pack:
        unit, header = pack.info.units[1], pack._header
    assert unit.nbytes > BLOCK_BYTES
    content = bytearray(path.read_bytes())
    content[offset + unit.end - 1] ^= 1
    (tmp_path / "bad.pack").write_bytes(content)
    last = next(one for one in header.tensors if header.storages[one.storage].offset + 2048 == unit.end)
    start_ = offset + unit.offset + BLOCK_BYTES
    with (
        loader.open_pack(tmp_path / "bad.pack") as pack,
        pytest.raises(
            loader.PackCorrupt,
            match=rf"unit 1 \(.*tensors: .*{last.name}\) is .*bytes {start_} and {offset + unit.end};",
        ),
    ):
        pack.verify()
