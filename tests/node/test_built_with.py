"""A version that cannot be loaded says what has changed since it was built."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from glowplug.bundle.manifest import MANIFEST, Manifest
from glowplug.bundle.provenance import installed
from glowplug.core.ids import FunctionId, VersionId
from glowplug.core.specs import Declaration, EndpointSpec
from glowplug.node.messages import Fork
from glowplug.node.roles import Phases, failure, load


def _said(folder: Path, source: str, built_with: dict[str, str]) -> str:
    (folder / "code").mkdir()
    name = f"built_with_{folder.name}"
    (folder / "code" / f"{name}.py").write_text(source)
    declaration = Declaration("shout", "function", name, "shout", endpoints=(EndpointSpec("shout"),))
    manifest = Manifest(
        VersionId("v"), FunctionId("shout.default"), declaration, "code", built_with=built_with
    )
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    path = list(sys.path)
    try:
        with pytest.raises(Exception, match=r".*") as caught:
            load(Fork("stage", "shout.default", "v", bundle=str(folder)), Phases())
    finally:
        sys.path[:] = path
    return failure(caught.value).message


_FAULTS = (
    "raise AttributeError('no such layer')",
    "shout = ",
    "from glowplug.core.errors import WeightsError\nraise WeightsError('no such layer')",
)


@pytest.mark.parametrize("source", _FAULTS)
def test_what_changed_is_told(tmp_path: Path, source: str) -> None:
    said = _said(tmp_path, source, {"python": "3.9.0"})
    assert f"(it was built with python 3.9.0, now {installed()['python']}: deploy it again)" in said
    assert "no such layer" in said or "SyntaxError: invalid syntax" in said


def test_an_error_that_takes_no_note_is_told_without_one(tmp_path: Path) -> None:
    source = """
class Noteless(Exception):
    def __setattr__(self, name, value):
        if name == "__notes__":
            raise AttributeError(name)

raise Noteless("no such layer")
"""
    assert _said(tmp_path, source, {"python": "3.9.0"}).endswith(".Noteless: no such layer")


def test_nothing_is_told_where_nothing_changed(tmp_path: Path) -> None:
    assert "built with" not in _said(tmp_path, "raise AttributeError('no such layer')", installed())
