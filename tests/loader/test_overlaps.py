"""Parts of a file that share bytes, or reach out of their unit, would be used before they are there."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug import loader
from glowplug.loader.contents import read_contents
from glowplug.loader.decoding import decode_header, decode_preamble
from glowplug.loader.format import PREAMBLE_BYTES, TIMED_FLAG, Header, encode, layout
from glowplug.loader.sources.memory import MemorySource
from tests.loader import nets
from tests.loader.loads import start

pytestmark = pytest.mark.torch

MB = 2**20
Change = Callable[[Header], Header]


def safetensors(entries: dict[str, tuple[int, int]], nbytes: int) -> bytes:
    header = {
        name: {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}
        for name, (begin, end) in entries.items()
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(nbytes)


def test_tensors_of_a_safetensors_file_that_overlap_are_refused() -> None:
    """The second begins in the unit of the first, and ends after it."""
    content = safetensors({"a.weight": (0, 2 * MB), "b.weight": (MB, 5 * MB)}, 5 * MB)
    first = len(content) - 5 * MB
    with pytest.raises(
        loader.WeightsUnreadable,
        match=rf"o\.safetensors: tensor a\.weight \(bytes {first} to {first + 2 * MB}\) and tensor b\.weight "
        rf"\(bytes {first + MB} to {first + 5 * MB}\) overlap",
    ):
        read_contents(MemorySource(content, "o.safetensors"))


def test_a_tensor_inside_another_is_refused_and_one_without_bytes_is_not() -> None:
    inside = safetensors({"a": (0, 64), "b": (8, 16), "c": (64, 96)}, 96)
    with pytest.raises(loader.WeightsUnreadable, match=r"tensor a .* and tensor b .* overlap"):
        read_contents(MemorySource(inside, "o.safetensors"))
    empty = safetensors({"a": (0, 64), "b": (8, 8), "c": (64, 96)}, 96)
    assert len(read_contents(MemorySource(empty, "o.safetensors")).header.storages) == 3


def overlapping_members(content: bytes) -> bytes:
    """The directory has the second storage begin where the first one does."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        places = {info.filename.partition("/")[2]: info.header_offset for info in archive.infolist()}
    changed = bytearray(content)
    offset = struct.pack("<I", places["data/1"])
    at = changed.rindex(offset, 0, changed.rindex(b"/data/1"))
    changed[at : at + 4] = struct.pack("<I", places["data/0"])
    return bytes(changed)


def test_members_of_a_torch_file_that_overlap_are_refused() -> None:
    file = io.BytesIO()
    torch.save({"a": torch.ones(500), "b": torch.zeros(500)}, file)
    with pytest.raises(
        loader.WeightsUnreadable, match=r"o\.pt: tensor a \(bytes \d+ .* and tensor b \(bytes \d+ .* overlap"
    ):
        read_contents(MemorySource(overlapping_members(file.getvalue()), "o.pt"))


class Shared(torch.nn.Module):
    """Its buffers are of one storage, and what lies between them in the file is not."""

    def __init__(self) -> None:
        super().__init__()
        whole = torch.arange(600_000.0)
        self.first = torch.nn.Module()
        self.first.register_buffer("head", whole[:300_000])
        self.middle = torch.nn.Linear(512, 512)
        self.last = torch.nn.Module()
        self.last.register_buffer("tail", whole[200_000:])

    def forward(self, x: Any) -> Any:
        return self.middle(x).sum() + self.first.head.sum() + self.last.tail.sum()


@pytest.mark.parametrize("name", ["streamed", "cicada", "pisel"])
def test_storages_that_tensors_share_are_waited_for_whole(name: str) -> None:
    model, x, file = Shared().eval(), torch.linspace(-1, 1, 512), io.BytesIO()
    torch.save(model.state_dict(), file)
    loading = start(MemorySource(file.getvalue(), "shared.pt"), name, Shared)
    with torch.inference_mode():
        assert torch.equal(loading.model(x), model(x))
    loading.wait()
    assert torch.equal(loading.model.last.tail, model.last.tail)


def sealed(path: Path, change: Change) -> bytes:
    """The pack with another header, whose hash is right again."""
    content = path.read_bytes()
    preamble = decode_preamble(content[:PREAMBLE_BYTES], len(content), "x")
    body = content[PREAMBLE_BYTES : PREAMBLE_BYTES + preamble.header_nbytes]
    header, old = decode_header(preamble, body, "x")
    changed = change(header)
    timed = bool(preamble.flags & TIMED_FLAG)
    beginning, body = encode(changed, timed)
    new = layout(changed, len(body), timed)
    sections = content[old.skeleton_offset : old.prime_offset + (header.prime.nbytes if header.prime else 0)]
    head = beginning + body + sections
    whole = head + bytes(new.weights_offset - len(head)) + content[old.weights_offset :]
    return whole[: new.file_nbytes]


def entry(what: str, number: int, **values: Any) -> Change:
    def change(header: Header) -> Header:
        entries: Sequence[Any] = getattr(header, what)
        changed = msgspec.structs.replace(entries[number], **values)
        return msgspec.structs.replace(header, **{what: (*entries[:number], changed, *entries[number + 1 :])})

    return change


def swapped(header: Header) -> Header:
    one, other, *others = header.storages
    return msgspec.structs.replace(header, storages=(other, one, *others))


def without_a_unit(header: Header) -> Header:
    return msgspec.structs.replace(header, units=header.units[1:])


def with_a_storage_across_units(header: Header) -> Header:
    second = header.units[1]
    number = next(n for n, one in enumerate(header.storages) if one.offset >= second.offset)
    return entry("storages", number - 1, nbytes=second.offset - header.storages[number - 1].offset + 8)(
        header
    )


def with_units_that_overlap(header: Header) -> Header:
    return entry("units", 1, offset=header.units[0].end - 4096)(header)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (swapped, r"unit 0: tensor layers\.0\.\w+ lies at bytes 0 to "),
        (without_a_unit, r"unit 0: tensor layers\.0\.weight lies at bytes 0 to "),
        (with_a_storage_across_units, r"unit 1: tensor layers\.\d\.\w+ lies at bytes "),
        (with_units_that_overlap, r"unit 1 \(layers: .*; tensors: layers\..*\) lies at bytes \d+ to \d+ "),
    ],
)
def test_a_pack_whose_tensors_lie_outside_of_their_unit_is_refused(
    wide: Any, change: Change, told: str
) -> None:
    content = sealed(wide[0], change)
    with pytest.raises(loader.PackCorrupt, match=rf"o\.pack: {told}"):
        read_contents(MemorySource(content, "o.pack"))


def test_a_wholepack_is_read_as_before(wide: Any) -> None:
    path, _, x, expected = wide
    with torch.inference_mode():
        model = start(MemorySource(sealed(path, lambda header: header), "o.pack"), "streamed").model
        assert torch.equal(model(x), expected)


def test_a_view_does_not_reach_out_of_its_storage(tmp_path: Path) -> None:
    """Its memory would be another tensor's, which may not be there yet."""
    model = nets.Views().eval()
    loader.pack(model, torch.zeros(3, 4), tmp_path / "views.pack")
    with loader.open_pack(tmp_path / "views.pack") as pack:
        number = next(n for n, one in enumerate(pack.info.tensors) if one.stride is not None)
    content = sealed(tmp_path / "views.pack", entry("tensors", number, start=40))
    with pytest.raises(loader.PackCorrupt, match=r"cannot be mapped: it reaches past its storage"):
        start(MemorySource(content, "views.pack"), "streamed")


def test_tensors_of_a_pack_without_weights_have_no_values(tmp_path: Path) -> None:
    loader.write_pack(tmp_path / "none.pack", torch.empty(0, 3))
    content = sealed(tmp_path / "none.pack", entry("tensors", 0, shape=(2, 3)))
    with pytest.raises(loader.PackCorrupt, match="cannot be mapped: there are no weights"):
        start(MemorySource(content, "none.pack"), "streamed")


def test_a_tensor_of_integers_has_no_gradients(wide: Any) -> None:
    content = sealed(wide[0], entry("tensors", 0, dtype="int32"))
    with pytest.raises(
        loader.PackCorrupt, match=r"tensor 'layers\.0\.weight' \(unit 0, bytes 0 to .*gradients"
    ):
        start(MemorySource(content, "wide.pack"), "streamed")


def test_a_tensor_of_a_torch_file_that_reaches_past_its_storage_is_named() -> None:
    file, changed = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.ones(500), "b": torch.ones(300)}, file)
    with zipfile.ZipFile(file) as plain, zipfile.ZipFile(changed, "w") as longer:
        for info in plain.infolist():
            # The shape (300,), as the pickle has it.
            longer.writestr(info.filename, plain.read(info).replace(b"M\x2c\x01\x85", b"M\x2d\x01\x85"))
    with pytest.raises(
        loader.WeightsUnreadable, match=r"tensor b reaches past its storage, the 1200 bytes at \d+\);"
    ):
        read_contents(MemorySource(changed.getvalue(), "o.pt"))
