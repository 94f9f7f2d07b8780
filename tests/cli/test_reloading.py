"""Files are looked at again and again; what changed is deployed, once it is whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.bundle.inspect import Inspection
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
        await asyncio.wait_for(again.wait(), 20)
        watching.cancel()

    asyncio.run(scenario())
    assert deployed == ["one", "mended"], "also what changed while it was deployed"
    assert "the cat sat on [it]" in capsys.readouterr().err
