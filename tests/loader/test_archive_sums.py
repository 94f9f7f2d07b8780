"""A torch file's weights are checked by the sums of its archive, for who asks for it."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.serialization import set_crc32_options

from glowplug import loader
from glowplug.loader.arbiter import Block
from glowplug.loader.archive_sums import ArchiveSums, joined
from glowplug.loader.contents import read_contents
from glowplug.loader.format import StorageEntry
from glowplug.loader.sources.memory import MemorySource
from tests.depth import examples
from tests.loader import nets
from tests.loader.loads import start

pytestmark = pytest.mark.torch

X = torch.linspace(-1, 1, 512).view(1, 512)


def saved(obj: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(obj, file, **options)
    return file.getvalue()


def big() -> nn.Module:
    """Layers that take several reads, after small ones that share a unit."""
    return nn.Sequential(nn.Linear(512, 4), nn.Linear(4, 4), nn.Linear(4, 2048), nn.Linear(2048, 1300))


@pytest.fixture(params=["wide", "big"])
def file(request: pytest.FixtureRequest) -> tuple[Callable[[], nn.Module], Any, bytes]:
    build = {"wide": nets.Wide, "big": big}[request.param]
    torch.manual_seed(2)
    model = build().eval()
    return build, model, saved(model.state_dict())


@settings(max_examples=examples(200), deadline=None)
@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_two_sums_make_that_of_both(first: bytes, second: bytes) -> None:
    assert joined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


@settings(max_examples=examples(200), deadline=None)
@given(data=st.data())
def test_pieces_in_any_order_tell_the_storage_that_has_another_bit(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=6))
    gaps = data.draw(st.lists(st.integers(0, 3), min_size=len(sizes), max_size=len(sizes)))
    storages, at = [], 0
    for gap, size in zip(gaps, sizes, strict=True):
        storages.append(StorageEntry(at + gap, size))
        at += gap + size
    content = bytearray(data.draw(st.binary(min_size=at, max_size=at)))
    expected = [zlib.crc32(content[one.offset : one.offset + one.nbytes]) for one in storages]
    flipped = data.draw(st.none() | st.integers(0, at - 1)) if at else None
    if flipped is not None:
        content[flipped] ^= 1 << data.draw(st.integers(0, 7))
    step = data.draw(st.integers(1, 7))
    blocks = [
        Block(0, number, start, min(step, at - start)) for number, start in enumerate(range(0, at, step))
    ]
    sums = ArchiveSums(storages, expected)
    for block in data.draw(st.permutations(blocks)):
        sums.add(block, memoryview(content)[block.offset : block.offset + block.nbytes])
    inside = [one for one in storages if flipped is not None and 0 <= flipped - one.offset < one.nbytes]
    assert sums.damaged(0, at) == (inside[0] if inside else None)


@pytest.mark.parametrize("name", ["pisel", "traditional", "cicada", "streamed", "mapped"])
def test_what_is_right_loads_and_says_that_it_was_checked(file: Any, name: str, tmp_path: Path) -> None:
    build, model, content = file
    (tmp_path / "net.pt").write_bytes(content)
    for verify, checked in ((True, "now"), (None, "no"), (False, "no")):
        loading = loader.start_load(tmp_path / "net.pt", strategy=name, build=build, verify=verify)
        loading.wait()
        assert loading.weights_checked == checked
        with torch.inference_mode():
            assert torch.equal(loading.model(X), model(X))


@pytest.mark.parametrize("device", ["cpu", "virtual"])
@pytest.mark.parametrize("name", ["pisel", "cicada", "streamed", "mapped"])
def test_a_flipped_bit_of_any_tensor_is_told_with_its_place(
    file: Any, name: str, device: str, tmp_path: Path
) -> None:
    build, _, content = file
    contents = read_contents(MemorySource(content, "net.pt"))
    for tensor in contents.header.tensors:
        storage = contents.header.storages[tensor.storage]
        start = contents.weights_offset + storage.offset
        damaged = bytearray(content)
        damaged[start + storage.nbytes // 2] ^= 4
        path = tmp_path / f"{tensor.name}.pt"  # a load that failed may still have the one before mapped
        path.write_bytes(damaged)
        with pytest.raises(loader.WeightsUnreadable) as caught:
            loader.load(path, device, name, build=build, verify=True)(X)
        told = str(caught.value)
        assert f"tensors: {tensor.name})" in told
        assert f"damaged between bytes {start} and {start + storage.nbytes} " in told


def test_a_file_without_sums_loads_and_cannot_be_verified() -> None:
    model = nets.Wide().eval()
    set_crc32_options(False)
    try:
        content = saved(model.state_dict())
    finally:
        set_crc32_options(True)
    loaded = start(MemorySource(content, "net.pt"), "streamed", nets.Wide).model
    with torch.inference_mode():
        assert torch.equal(loaded(X), model(X))
    with pytest.raises(ValueError, match=r"net\.pt has no checksums.*without verify=True"):
        start(MemorySource(content, "net.pt"), "streamed", nets.Wide, verify=True)


def test_files_of_before_archives_cannot_be_verified(tmp_path: Path) -> None:
    content = saved(nets.Wide().state_dict(), _use_new_zipfile_serialization=False)
    (tmp_path / "old.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"old\.pt has no checksums"):
        loader.load(tmp_path / "old.pt", build=nets.Wide, verify=True)


@pytest.mark.parametrize("name", ["pisel", "cicada", "streamed", "mapped"])
def test_safetensors_cannot_be_verified(name: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "net.safetensors"
    save_file(nets.Wide().state_dict(), path)
    with pytest.raises(ValueError, match=r"net\.safetensors has no checksums.*without verify=True"):
        loader.load(path, strategy=name, build=nets.Wide, verify=True)
    loader.load(path, strategy=name, build=nets.Wide)(X)


def test_an_encrypted_member_is_refused() -> None:
    content = bytearray(saved({"a": torch.ones(9)}))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        at = archive.start_dir
    content[at + 8] |= 1
    with pytest.raises(loader.WeightsUnreadable, match=r"data\.pkl is encrypted"):
        read_contents(MemorySource(bytes(content), "net.pt"))
