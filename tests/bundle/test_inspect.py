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


MODEL = """
import glowplug
{made}
class Net:
    def build(self): ...
    @glowplug.endpoint
    def f(self): ...
"""


def test_what_is_no_name_of_a_module_is_refused(tmp_path: Path) -> None:
    factory = """
import glowplug
app = glowplug.App("top")

def make(weights):
    class Net:
        def build(self): ...
        @glowplug.endpoint
        def f(self): ...
    return app.model(name=weights, weights=weights)(Net)

small = make("small")
"""
    with pytest.raises(
        InvalidDeclaration, match=r"small: make\.<locals>\.Net is no name at the top of a mod"
    ):
        inspect_source(written(tmp_path, {"app.py": factory}))


def test_two_apps_do_not_declare_one_name(tmp_path: Path) -> None:
    second = SOURCE.format(body="pass").replace("app", "other").replace("@", "\n@")
    text = SOURCE.format(body="pass") + second.replace("other.function()", 'other.function(name="g")')
    with pytest.raises(
        InvalidDeclaration, match="g: f is declared already, as f: call one of the two someth"
    ):
        inspect_source(written(tmp_path, {"app.py": text}))


def test_weights_that_are_made_are_found_where_the_class_is_written(tmp_path: Path) -> None:
    net = MODEL.format(made="")
    use = "import net, glowplug\napp = glowplug.App('top')\n" + "app.model(weights={})(net.Net)\n"
    source = written(tmp_path, {"app.py": use.format("lambda: {}"), "net.py": net})
    with pytest.raises(InvalidDeclaration, match=r"its weights are a callable, .*: declare it in net, or"):
        inspect_source(source)
    source.write_text(use.format("'net.py'"))
    assert inspect_source(source).declarations[0].weights == "net.py"
    made = "def weights(): ...\nown = glowplug.App('own')\n@own.model(weights=weights)"
    (tmp_path / "net.py").write_text(MODEL.format(made=made))
    source.write_text(use.format("net.weights"))
    assert [found.module for found in inspect_source(source).declarations] == ["net"]
    made = "def weights(): ..."
    (tmp_path / "net.py").write_text(MODEL.format(made=made))
    twice = use + "other = glowplug.App('other')\nother.model(weights={})(net.Net)\n"
    source.write_text(twice.format("net.weights", "net.weights"))
    with pytest.raises(InvalidDeclaration, match=r"its weights are a callable"):
        inspect_source(source)


def test_weights_that_are_made_may_be_of_an_app_that_the_source_imports(tmp_path: Path) -> None:
    shared = (
        "import glowplug\napp = glowplug.App('top')\ndef model(**given):\n    return app.model(**given)\n"
    )
    net = MODEL.format(made="import shared\ndef weights(): ...\n@shared.model(weights=weights)")
    use = "import net\nfrom shared import app\n"
    source = written(tmp_path, {"app.py": use, "net.py": net, "shared.py": shared})
    assert [found.module for found in inspect_source(source).declarations] == ["net"]


def test_what_a_linked_source_imports_lies_where_the_source_does(tmp_path: Path) -> None:
    source = written(
        tmp_path, {"real/app.py": SOURCE.format(body="from helper import x"), "real/helper.py": "x = 'right'"}
    )
    link = written(tmp_path, {"links/helper.py": "x = 'wrong'"}).with_name("app.py")
    link.symlink_to(source)
    write_upload(link, inspect_source(link), tmp_path / "upload.tar")
    extract_upload(tmp_path / "upload.tar", tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "code" / "helper.py").read_text() == "x = 'right'"


@pytest.mark.parametrize("call", ["f.remote()", "next(f.map([]), None)", "f.spawn()"])
def test_a_call_at_the_top_is_refused_at_once(call: str, tmp_path: Path) -> None:
    """A build would wait for a server that it cannot reach."""
    source = written(tmp_path, {"app.py": SOURCE.format(body="pass") + call})
    with pytest.raises(InvalidDeclaration, match=r"f\.default is called at the top of a module"):
        inspect_source(source)
