"""Packages are removed only while nothing runs with them, however long the removal of others takes."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from glowplug.bundle.environments import EnvironmentStore
from glowplug.node import environments
from glowplug.node.messages import PackagesRemoved, RemovePackages


def test_what_climbs_while_another_is_removed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EnvironmentStore(tmp_path)
    store.prepare()
    for name in "ab":
        (store.built / name).mkdir()
    told: list[Any] = []
    roster: dict[str, Any] = {}
    agent: Any = SimpleNamespace(
        store=SimpleNamespace(environments=store),
        roster=SimpleNamespace(environments=roster),
        tell=told.append,
    )
    begun, go_on = threading.Event(), threading.Event()

    def slowly(folder: Path) -> None:
        begun.set()
        assert go_on.wait(30)
        folder.rmdir()

    monkeypatch.setattr(environments, "remove_tree", slowly)

    async def scenario() -> None:
        removal = asyncio.create_task(environments.Environments(agent).remove(RemovePackages(7, ("a", "b"))))
        assert await asyncio.to_thread(begun.wait, 30)
        roster["of b"] = SimpleNamespace(packages="b")
        go_on.set()
        await removal

    asyncio.run(scenario())
    assert told == [PackagesRemoved(7, ("a",))]
    assert (store.built / "b").is_dir()
    assert not (store.built / "a").exists()
