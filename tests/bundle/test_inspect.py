"""What is found in a source file, and what is said where it cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.bundle.inspect import inspect_source
from glowplug.bundle.later_imports import with_later_imports
from glowplug.bundle.uploads import extract_upload, write_upload
from glowplug.core.errors import InvalidDeclaration

SOURCE = """
import glowplug
app = glowplug.App("top")

@app.function()
def f() -> None:
    {body}
"""


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / next(iter(files))


def test_what_is_imported_within_a_function_travels(tmp_path: Path) -> None:
    source = written(
        tmp_path,
        {
            "app.py": SOURCE.format(body="import later.deep.inner, json\n    from later import Thing"),
            "later/__init__.py": "from later.things import Thing",
            "later/things.py": "def go():\n    from .deep import sibling\n    from . import more\nThing = go",
            "later/more.py": "from ..outside import x\nfrom . import nowhere",
            "later/deep/__init__.py": "",
            "later/deep/inner.py": "this is no Python",
            "later/deep/sibling.py": "",
            "unused.py": "",
            "later/unused.py": "",
        },
    )  # fmt: skip
    assert inspect_source(source).files == (
        "app.py", "later/__init__.py", "later/deep/__init__.py", "later/deep/inner.py",
        "later/deep/sibling.py", "later/more.py", "later/things.py",
    )  # fmt: skip


def test_nothing_travels_from_outside_the_folder(tmp_path: Path) -> None:
    source = written(
        tmp_path, {"in/app.py": "from ..secret import x\nfrom .. import secret", "secret.py": ""}
    )
    assert with_later_imports({source}, source.parent) == {source}


def test_what_is_printed_as_it_ends_is_not_the_answer(tmp_path: Path) -> None:
    body = "pass\nimport atexit\nprint('here')\natexit.register(print, 'gone')"
    found = inspect_source(written(tmp_path, {"app.py": SOURCE.format(body=body)}))
    assert [declaration.name for declaration in found.declarations] == ["f"]


def test_a_source_that_ends_its_process_is_told(tmp_path: Path) -> None:
    body = "pass\nimport os\nos._exit(7)"
    with pytest.raises(InvalidDeclaration, match="importing it ended with exit status 7"):
        inspect_source(written(tmp_path, {"app.py": SOURCE.format(body=body)}))


def test_a_relative_import_says_what_to_write_instead(tmp_path: Path) -> None:
    source = written(tmp_path, {"shop/app.py": "from .helper import x", "shop/helper.py": "x = 1"})
    with pytest.raises(
        InvalidDeclaration, match=r"app\.py is imported by itself, not as a part of shop: write"
    ):
        inspect_source(source)


def test_what_a_linked_source_imports_lies_where_the_source_does(tmp_path: Path) -> None:
    source = written(
        tmp_path, {"real/app.py": SOURCE.format(body="from helper import x"), "real/helper.py": "x = 'right'"}
    )
    link = written(tmp_path, {"links/helper.py": "x = 'wrong'"}).with_name("app.py")
    link.symlink_to(source)
    write_upload(link, inspect_source(link), tmp_path / "upload.tar")
    extract_upload(tmp_path / "upload.tar", tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "code" / "helper.py").read_text() == "x = 'right'"
