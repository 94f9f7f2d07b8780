"""A source can be read where what it requires is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.bundle.inspect import inspect_source
from glowplug.core.errors import InvalidDeclaration

SOURCE = """
import glowplug
import not_here.deep as deep
from not_here import thing, Base
import helper
app = glowplug.App("top", requirements={requirements})

class Kind(Base):
    pass

@app.function()
@thing.decorated
def f(x: deep.Array | None = None, y: int | deep.Array = deep.DEFAULT) -> deep.Array[int]:
    return thing(x)
"""


def write(folder: Path, requirements: list[str], helper: str = "") -> Path:
    (folder / "helper.py").write_text(helper or "from not_here.other import *\nimport not_here\n")
    path = folder / "standing.py"
    path.write_text(SOURCE.format(requirements=requirements))
    return path


def test_missing_modules_are_stood_in_for(tmp_path: Path) -> None:
    found = inspect_source(write(tmp_path, ["not-here==1"]))
    (endpoint,) = found.declarations[0].endpoints
    assert [p.type for p in endpoint.parameters] == [
        "not_here.deep.Array | None",
        "int | not_here.deep.Array",
    ]
    assert endpoint.returns == "not_here.deep.Array[int]"
    assert found.files == ("helper.py", "standing.py")


def test_without_requirements_they_are_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidDeclaration, match="No module named 'not_here'"):
        inspect_source(write(tmp_path, []))


def test_the_standard_library_is_not_stood_in_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidDeclaration, match=r"No module named 'json\.nothing'"):
        inspect_source(write(tmp_path, ["not-here"], "import json.nothing"))


ONCE = """
import sys
if hasattr(sys, "native"):
    raise ImportError("cannot load module more than once per process")
sys.native = True
"""


def test_packages_below_the_sources_folder_are_imported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As numpy and torch are in a project's own virtual environment."""
    packages = tmp_path / "env" / "lib" / "python3" / "site-packages"
    (packages / "native").mkdir(parents=True)
    (packages / "native" / "__init__.py").write_text(ONCE)
    monkeypatch.setenv("PYTHONPATH", str(packages))
    source = write(tmp_path, ["not-here==1"])
    source.write_text("import native\n" + source.read_text())
    found = inspect_source(source)
    assert [declaration.name for declaration in found.declarations] == ["f"]
    assert found.files == ("helper.py", "standing.py")
