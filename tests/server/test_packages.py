"""Installed packages are kept within their disk, by who needs them and who was used last."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from glowplug.bundle.environments import BuiltPackages, EnvironmentStore, interpreter
from glowplug.core.errors import Unavailable
from glowplug.core.ids import FunctionId, PackagesId
from glowplug.core.specs import Requirements
from glowplug.server.packages import PackageKeeper

F = FunctionId("f.default")


class Node:
    """Removes for real, but not what is `used`."""

    def __init__(self, store: EnvironmentStore) -> None:
        self.store = store
        self.used: set[str] = set()
        self.asked: list[tuple[tuple[str, ...], bool]] = []
        self.there = True

    async def remove_packages(self, names: tuple[str, ...], cache: bool = False) -> tuple[str, ...]:
        if not self.there:
            raise Unavailable("gone")
        self.asked.append((names, cache))
        return tuple(name for name in names if name not in self.used and self.store.take_away(name))


class Kept:
    """Three installations of 1000 bytes, `a` used longest ago; `needed` by a function."""

    def __init__(self, folder: Path, budget_bytes: int = 10_000) -> None:
        self.store = EnvironmentStore(folder)
        self.store.prepare()
        self.node = Node(self.store)
        self.names = [self._install(line, at_s) for at_s, line in enumerate(["a", "b", "c"])]
        self.needed: dict[PackagesId, set[FunctionId]] = {self.names[0]: {F}}
        self.keeper = PackageKeeper(self.store, self.node, self._wanted, budget_bytes)

    async def _wanted(self) -> dict[PackagesId, set[FunctionId]]:
        return self.needed

    def _install(self, line: str, at_s: int) -> PackagesId:
        name = self.store.keep_request(Requirements((f"--index-url https://me:pw@h/{line}", line)), Path("/"))
        attempt = self.store.new_attempt(name)
        (attempt / "bin").mkdir()
        (attempt / "bin" / "python").touch()
        self.store.publish(name, BuiltPackages(attempt.name, interpreter(), "uv", (), 1000, 2.0))
        os.utime(self.store.built / name / "built.json", (at_s, at_s))
        return name

    async def tidied(self) -> list[PackagesId]:
        self.keeper.keep_to_budget()
        assert self.keeper._tidying is not None
        await self.keeper._tidying
        return self.store.names()


def test_all_are_listed_without_passwords(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.needed[PackagesId("lost")] = {F}
    found = {each.packages: each for each in asyncio.run(kept.keeper.listed()).packages}
    assert list(found) == ["lost", *kept.names]
    assert (found["lost"].state, found["lost"].functions, found["lost"].size_bytes) == ("missing", (F,), 0)
    first = found[kept.names[0]]
    assert (first.state, first.functions, first.size_bytes, first.installer) == ("built", (F,), 1000, "uv")
    assert first.requirements == ("--index-url https://****@h/a", "a")
    assert found[kept.names[1]].functions == ()


def test_prune_asks_for_all_that_nobody_needs(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.node.used = {kept.names[1]}
    found = asyncio.run(kept.keeper.prune(cache=False))
    assert found.removed == (kept.names[2],)
    assert [each.packages for each in found.packages] == kept.names[:2]
    assert found.freed_bytes == 1000
    assert kept.node.asked == [((kept.names[1], kept.names[2]), False)]


@pytest.mark.parametrize(("budget_bytes", "left"), [(3000, "abc"), (2500, "ac"), (100, "a")])
def test_beyond_the_budget_what_was_used_last_stays(tmp_path: Path, budget_bytes: int, left: str) -> None:
    kept = Kept(tmp_path, budget_bytes)
    by_letter = dict(zip("abc", kept.names, strict=True))
    assert asyncio.run(kept.tidied()) == [by_letter[letter] for letter in left]


def test_a_node_that_is_not_there_is_asked_again_later(tmp_path: Path) -> None:
    kept = Kept(tmp_path, 100)
    kept.node.there = False
    assert asyncio.run(kept.tidied()) == kept.names
    kept.node.there = True
    assert asyncio.run(kept.tidied()) == kept.names[:1]
    kept.node.there = False
    with pytest.raises(Unavailable):
        asyncio.run(kept.keeper.prune(cache=True))
