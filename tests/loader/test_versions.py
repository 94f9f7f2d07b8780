"""Packs of another version of the format are read, or refused by its number."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from torch import nn

from glowplug import loader
from glowplug.loader.decoding import decode_header, decode_preamble
from glowplug.loader.format import MAGIC, PREAMBLE, PREAMBLE_BYTES, TIMED_FLAG, VERSION, layout, seal
from glowplug.loader.strategies import STRATEGIES
from tests.loader import nets

pytestmark = pytest.mark.torch

X = torch.linspace(-1, 1, 12).view(3, 4)
FIELDS_OF_2 = 7


def of_version_2(path: Path) -> Path:
    """The pack as that version wrote it, beside `path`."""
    content = path.read_bytes()
    preamble = decode_preamble(content[:PREAMBLE_BYTES], len(content), "x")
    whole = content[PREAMBLE_BYTES : PREAMBLE_BYTES + preamble.header_nbytes]
    header, old = decode_header(preamble, whole, "x")
    body = msgspec.msgpack.encode(msgspec.msgpack.decode(whole)[:FIELDS_OF_2])
    new = layout(header, len(body), bool(preamble.flags & TIMED_FLAG))
    fields = (MAGIC, 2, preamble.flags, len(body), new.file_nbytes)
    sections = content[old.skeleton_offset : old.weights_offset].rstrip(b"\0")
    head = PREAMBLE.pack(*fields, seal(fields, body)) + body + sections
    made = path.with_name("two.pack")
    made.write_bytes(head + bytes(new.weights_offset - len(head)) + content[old.weights_offset :])
    return made


def layers() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.scale = torch.ones(4)

    def forward(self, x: Any) -> Any:
        return self.inner(x) * self.scale


def test_what_is_written_has_the_version_that_says_so(tmp_path: Path) -> None:
    loader.pack(nets.Reversed().eval(), X, tmp_path / "net.pack")
    _, version, *_ = PREAMBLE.unpack((tmp_path / "net.pack").read_bytes()[:PREAMBLE_BYTES])
    assert version == VERSION == 3, "readers of 2 know nothing of this header, and must name the version"


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_packs_of_version_2_are_read(strategy: str, tmp_path: Path) -> None:
    model = layers().eval()
    loader.pack(model, X, tmp_path / "net.pack")
    path = of_version_2(tmp_path / "net.pack")
    for build in (None, layers):
        loaded = loader.load(path, strategy=strategy, build=build)
        with torch.inference_mode():
            assert torch.equal(loaded(X), model(X))
    with loader.open_pack(path) as pack:
        pack.verify()
        assert pack.prime() is not None


def test_a_pack_of_version_2_does_not_say_where_a_tensor_without_a_name_belongs(tmp_path: Path) -> None:
    model = Scaled().eval()
    model.scale = torch.arange(4.0)
    loader.pack(model, X, tmp_path / "net.pack")
    path = of_version_2(tmp_path / "net.pack")
    assert torch.equal(loader.load(path, strategy="cicada").scale, model.scale)
    with pytest.raises(
        loader.WeightsMismatch,
        match=r"two\.pack: 1 tensor .*\n.*earlier version \(pack format 2\).* pack the",
    ):
        loader.load(path, strategy="cicada", build=Scaled)


def test_another_version_is_named(tmp_path: Path) -> None:
    loader.pack(nets.Reversed().eval(), X, tmp_path / "net.pack")
    content = bytearray((tmp_path / "net.pack").read_bytes())
    for version, remedy in ((1, "pack the model again$"), (4, "or read it by a newer Glowplug$")):
        content[8] = version
        (tmp_path / "net.pack").write_bytes(content)
        with pytest.raises(
            loader.PackCorrupt, match=f"format {version}, this is a reader of 2 and 3; .*{remedy}"
        ):
            loader.load(tmp_path / "net.pack")
