"""Files are looked at again and again; what changed is deployed, once it is whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.bundle.inspect import Inspection, inspect_source
from glowplug.bundle.uploads import write_upload
from glowplug.cli import reloading
from glowplug.cli.reloading import Watched, deploy_and_watch
from glowplug.core.errors import BuildFailed


def write(folder: Path, name: str = "app.py", text: str = "one") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_change_counts_when_it_is_over(tmp_path: Path) -> None:
    watched = Watched(write(tmp_path))
    watched.begin()
    assert [watched.changed(), watched.changed()] == [False, False]
    write(tmp_path, text="longer")
    assert watched.changed() is False, "it may still be written"
    assert watched.changed() is True
    watched.begin()
    assert watched.changed() is False


def test_what_the_source_imports_is_watched_too(tmp_path: Path) -> None:
    source, helper = write(tmp_path), write(tmp_path, "helper.py")
    watched = Watched(source)
    watched.begin()
    watched.take(Inspection(files=("app.py", "helper.py")))
    assert [watched.changed(), watched.changed()] == [False, False]
    helper.write_text("another")
    assert [watched.changed(), watched.changed()] == [False, True]
    watched.begin()
    watched.take(Inspection(files=("app.py",)))
    helper.write_text("nobody cares")
    assert [watched.changed(), watched.changed()] == [False, False]


def test_code_beside_a_source_that_cannot_be_inspected_is_watched(tmp_path: Path) -> None:
    """Its own mistake may lie there: in a module that it imports, or that is not there yet."""
    source, broken = write(tmp_path), write(tmp_path, "broken.py", "1 +")
    watched = Watched(source)
    watched.begin()
    assert [watched.changed(), watched.changed()] == [False, False]
    write(tmp_path, "broken.py", "mended")
    assert [watched.changed(), watched.changed()] == [False, True]
    watched.begin()
    (tmp_path / "package").mkdir()
    write(tmp_path / "package", "__init__.py")
    assert [watched.changed(), watched.changed()] == [False, True]
    watched.begin()
    watched.take(Inspection(files=("app.py", "broken.py")))
    write(tmp_path, "other.py")
    assert [watched.changed(), watched.changed()] == [False, False]
    broken.unlink()
    assert [watched.changed(), watched.changed()] == [False, True]


def test_lists_of_requirements_are_watched(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    named, inner = tmp_path / "requirements.txt", tmp_path / "lists" / "more.in"
    named.write_text("-r lists/more.in\n")
    inner.write_text("six==1.16.0\n")
    source = write(
        tmp_path,
        text='import glowplug\napp = glowplug.App("a", requirements="requirements.txt")\n'
        "@app.function()\ndef f(): ...\n",
    )
    watched = Watched(source)
    for path in (named, inner):
        watched.begin()
        watched.take(inspect_source(source))
        assert [watched.changed(), watched.changed()] == [False, False]
        path.write_text(path.read_text() + "# another line\n")
        assert [watched.changed(), watched.changed()] == [False, True]
    write_upload(source, inspect_source(source), tmp_path / "upload.tar")
    assert str(tmp_path).encode() not in (tmp_path / "upload.tar").read_bytes()


def test_a_file_that_is_replaced_or_gone_has_changed(tmp_path: Path) -> None:
    watched = Watched(write(tmp_path))
    watched.begin()
    write(tmp_path, "new", "two").rename(tmp_path / "app.py")
    assert [watched.changed(), watched.changed()] == [False, True]
    watched.begin()
    (tmp_path / "app.py").unlink()
    assert [watched.changed(), watched.changed()] == [False, True]


def test_errors_are_shown_and_watching_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reloading, "POLL_S", 0.001)
    source = write(tmp_path)
    deployed: list[str] = []

    async def scenario() -> None:
        again = asyncio.Event()
        loop = asyncio.get_running_loop()

        def deploy(path: Path, on_inspected: Callable[[Inspection], None]) -> None:
            deployed.append(path.read_text())
            if len(deployed) == 1:
                path.write_text("mended")
                raise BuildFailed("app: the cat sat on [it]")
            on_inspected(Inspection(files=("app.py",)))
            loop.call_soon_threadsafe(again.set)

        watching = asyncio.create_task(deploy_and_watch([source], deploy))
        await asyncio.wait_for(again.wait(), 120)
        watching.cancel()

    asyncio.run(scenario())
    assert deployed == ["one", "mended"], "also what changed while it was deployed"
    assert "the cat sat on [it]" in capsys.readouterr().err
