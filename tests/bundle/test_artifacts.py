"""Where packs are kept beyond a node's disk: the same promises from a folder and through obstore."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from glowplug.bundle.artifacts import Artifacts, FolderArtifacts, ObjectArtifacts, open_artifacts
from glowplug.core.errors import InvalidDeclaration, Unavailable
from glowplug.loader.sources import open_source

PACK = "a" * 64
KINDS: dict[str, Callable[[Path], Artifacts]] = {
    "folder": FolderArtifacts,
    "obstore": lambda folder: ObjectArtifacts(f"file://{folder}"),
}


@pytest.fixture(params=KINDS)
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    if request.param == "obstore" and find_spec("obstore") is None:
        pytest.skip("needs the stores extra: pip install 'glowplug[stores]'")
    (tmp_path / "store").mkdir()
    return KINDS[request.param](tmp_path / "store")


def test_what_was_put_is_there_and_can_be_read(artifacts: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "pack").write_bytes(b"weights")
    assert not artifacts.has(PACK)
    artifacts.put(tmp_path / "pack", PACK)
    assert artifacts.has(PACK)
    source = open_source(artifacts.url(PACK))
    buffer = bytearray(7)
    source.read_into(buffer, 0, 7)
    source.close()
    assert buffer == b"weights"


def test_what_is_there_is_left_alone(artifacts: Artifacts, tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        (tmp_path / "pack").write_bytes(content)
        artifacts.put(tmp_path / "pack", PACK)
    assert (tmp_path / "store" / f"{PACK}.pack").read_bytes() == b"first"
    assert [path.name for path in (tmp_path / "store").iterdir()] == [f"{PACK}.pack"]


def test_a_pack_that_cannot_be_read_leaves_nothing(artifacts: Artifacts, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        artifacts.put(tmp_path / "none", PACK)
    assert not list((tmp_path / "store").iterdir())


def test_what_a_killed_process_left_half_stored_goes_a_day_later(tmp_path: Path) -> None:
    for name, age_s in (("old", 90_000), ("fresh", 600)):
        path = tmp_path / f".new-{name}"
        path.touch()
        os.utime(path, (time.time() - age_s,) * 2)
    FolderArtifacts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".new-fresh"]


def test_no_address_is_no_store() -> None:
    assert open_artifacts("") is None


def test_an_address_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidDeclaration, match="ftp://x: an artifact store is a folder"):
        open_artifacts("ftp://x")
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot be opened"):
        open_artifacts(str(tmp_path / "file" / "store"))
