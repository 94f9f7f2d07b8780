"""What is read of a pack before its weights: in pieces, no more than is used, and never without bound."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug import loader
from glowplug.loader.contents import read_contents
from glowplug.loader.decoding import decode_preamble
from glowplug.loader.format import MAGIC, PREAMBLE, VERSION
from tests.loader import nets
from tests.loader.test_pipeline import Ranges

pytestmark = pytest.mark.torch


@pytest.fixture
def long_headed(tmp_path: Path) -> Ranges:
    """A pack whose skeleton holds nine megabytes."""
    loader.write_pack(tmp_path / "h.pack", nets.Holder(nets.ConvNet(), table=bytes(9 * 2**20)))
    return Ranges((tmp_path / "h.pack").read_bytes(), "h.pack")


def test_a_long_head_is_read_in_pieces(long_headed: Ranges) -> None:
    contents = read_contents(long_headed)
    assert contents.skeleton is not None
    assert len(contents.skeleton) > 9 * 2**20
    assert max(length for _, length in long_headed.ranges) <= 4 * 2**20


def test_who_rebuilds_nothing_reads_no_skeleton(long_headed: Ranges) -> None:
    contents = read_contents(long_headed, skeleton=False)
    assert contents.skeleton is None
    assert contents.checked
    assert sum(length for _, length in long_headed.ranges) < 2**20


def test_a_header_without_bound_is_not_read() -> None:
    start = PREAMBLE.pack(MAGIC, VERSION, 0, 10**10, 10**11, bytes(32))
    with pytest.raises(loader.PackCorrupt, match="its header has 10000000000 bytes, more than"):
        decode_preamble(start, 10**11, "x.pack")
