"""A pack that is not the one of its manifest runs no code."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

pytest.importorskip("torch", reason="needs the torch extra")

from glowplug import loader
from glowplug.bundle.instantiate import _open, pack_digest
from glowplug.bundle.manifest import Manifest
from glowplug.core.errors import WeightsError
from glowplug.core.ids import FunctionId, VersionId
from tests.bundle.test_store import DECLARED

pytestmark = pytest.mark.torch


def test_another_pack_than_the_manifests_is_not_opened(tmp_path: Path) -> None:
    one, other = tmp_path / "one.pack", tmp_path / "other.pack"
    loader.write_pack(one, {"a": 1})
    loader.write_pack(other, {"a": 2})
    _open(one, None, pack_digest(one)).close()
    with pytest.raises(WeightsError, match="the artifact store has something else under its name"):
        _open(other, None, pack_digest(one))


def test_manifests_from_before_there_were_digests_are_served(tmp_path: Path) -> None:
    loader.write_pack(tmp_path / "one.pack", {"a": 1})
    manifest = Manifest(
        VersionId("v"), FunctionId("a.b"), DECLARED.declarations[0], "skeleton", pack_digest="0" * 64
    )
    fields = msgspec.json.decode(msgspec.json.encode(manifest))
    del fields["pack_digest"]
    old = msgspec.json.decode(msgspec.json.encode(fields), type=Manifest)
    _open(tmp_path / "one.pack", None, old.pack_digest).close()
