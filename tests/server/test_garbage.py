"""What a server removes of its store while it runs, and what it leaves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from glowplug.bundle.inspect import Inspection
from glowplug.bundle.manifest import Manifest
from glowplug.bundle.store import BundleStore
from glowplug.bundle.uploads import write_upload
from glowplug.control.records import Version
from glowplug.core.events import Built
from glowplug.core.ids import CommandId, EnvironmentId, FunctionId, NodeId, PackagesId, VersionId
from glowplug.core.specs import BundleFacts, Declaration, FunctionSpec
from glowplug.server import deployments
from glowplug.server.database import Database
from glowplug.server.deployments import Deployments

SHOUT = FunctionId("shout.default")


class Place:
    """A store with real files, and a controller that has what it is given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = BundleStore(root / "state")
        self.store.prepare()
        self.database = Database(root / "glowplug.db")
        self.versions: dict[VersionId, Version] = {}
        state = SimpleNamespace(context=SimpleNamespace(store=SimpleNamespace(versions=self.versions)))
        driver: Any = SimpleNamespace(post=lambda event: None, state=state)
        self.deployments = Deployments(self.store, self.database, driver)

    async def upload(self, text: str, *names: str) -> str:
        (self.root / "app.py").write_text(text)
        declared = tuple(Declaration(name, "function", "app", name) for name in names)
        write_upload(self.root / "app.py", Inspection(declared, ("app.py",)), self.root / "upload.tar")

        async def chunks() -> AsyncIterator[bytes]:
            yield (self.root / "upload.tar").read_bytes()

        return (await self.store.receive_upload(chunks(), 2**20))[0]

    def version(self, name: str, upload: str, state: Any, declared: str = "shout") -> VersionId:
        version = VersionId(name)
        declaration = Declaration(declared, "function", "app", declared)
        spec = FunctionSpec(SHOUT, version, "default", EnvironmentId("e"), upload, declaration)
        facts = BundleFacts() if state == "built" else None
        self.versions[version] = Version(spec, facts=facts, state=state)
        self.database.save_version(spec)
        self.deployments._know(spec)
        if facts is not None:
            self.database.save_facts(version, facts)
            produced = self.root / "pack"
            produced.write_bytes(name.encode())
            pack, size = self.store.adopt_pack(produced, 10**6)
            self.store.publish(Manifest(version, SHOUT, declaration, "skeleton", pack=pack, pack_bytes=size),
                               self.root)  # fmt: skip
        return version

    def age(self, seconds: float) -> None:
        for folder in (self.store.uploads, self.store.packs, self.store.bundles):
            for path in folder.iterdir():
                at_s = path.stat().st_mtime - seconds
                os.utime(path, (at_s, at_s))

    async def built(self, version: VersionId) -> None:
        self.deployments.observe(Built(CommandId(1), version, NodeId("n"), BundleFacts(), 1.0))
        collecting = self.deployments._collecting
        assert collecting is not None
        await collecting

    def there(self) -> tuple[int, int, int]:
        """How many uploads, packs and bundles."""
        store = self.store
        uploads, packs, bundles = map(os.listdir, (store.uploads, store.packs, store.bundles))
        return len(uploads), len(packs), len(bundles)

    def close(self) -> None:
        self.deployments.close()
        self.database.close()


@pytest.fixture
def place(tmp_path: Path) -> Any:
    made = Place(tmp_path)
    yield made
    made.close()


def test_after_a_build_what_no_version_needs_is_gone(place: Place) -> None:
    async def scenario() -> None:
        first = place.version("a", await place.upload("a", "shout"), "built")
        second = place.version("b", await place.upload("b", "shout"), "built")
        gone = place.version("c", await place.upload("c", "shout"), "built")
        place.age(300)
        del place.versions[gone]
        place.database.save_version(place.versions[second].spec, kept={first})
        await place.built(second)
        assert place.there() == (0, 2, 2)
        assert place.store.manifest(first) is not None, "it can be rolled back to"
        assert place.store.manifest(second) is not None

    asyncio.run(scenario())


def test_what_may_be_in_use_stays(place: Place) -> None:
    async def scenario() -> None:
        half = await place.upload("a", "shout", "whisper")
        version = place.version("a", half, "built")
        fresh = place.version("b", await place.upload("b", "shout"), "built")
        failed = await place.upload("c", "shout")
        place.version("c", failed, "failed")
        await place.built(fresh)
        assert place.there() == (3, 2, 2), "nothing is old"
        place.age(300)
        await place.built(version)
        left = {path.name for path in place.store.uploads.iterdir()}
        assert left == {half, failed}, "one that waits for its other declaration, one that may be built yet"
        place.age(7200)
        assert place.store.upload_path(half).is_dir(), "a deploy that begins"
        await place.built(version)
        assert {path.name for path in place.store.uploads.iterdir()} == {half, failed}
        place.age(7200)
        await place.built(version)
        assert {path.name for path in place.store.uploads.iterdir()} == {failed}

    asyncio.run(scenario())


def test_packs_that_nobody_names_yet_stay_while_something_is_built(place: Place) -> None:
    async def scenario() -> None:
        upload = await place.upload("a", "shout")
        version = place.version("a", upload, "built")
        place.version("b", upload, "building")
        (place.root / "pack").write_bytes(b"of a part")
        place.store.adopt_pack(place.root / "pack", 10**6)
        place.age(300)
        await place.built(version)
        assert place.there() == (1, 2, 1)
        built = place.versions[VersionId("b")]
        built.state = "failed"
        await place.built(version)
        assert place.there() == (1, 1, 1)

    asyncio.run(scenario())


@pytest.mark.parametrize("why", ["it still answers", "too young"])
def test_what_had_to_stay_goes_later_by_itself(
    place: Place, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Nobody deploys or builds anything after the last function was undeployed."""
    monkeypatch.setattr(deployments, "JUST_NOW_S", 0.0)

    async def scenario() -> None:
        version = place.version("a", await place.upload("a", "shout"), "built")
        if why == "it still answers":
            place.age(300)
            place.database.remove_function(SHOUT)
            await place.built(version)
            assert place.there() == (0, 1, 1)
            del place.versions[version]
        else:
            del place.versions[version]
            place.database.remove_function(SHOUT)
            await place.built(version)
            assert place.there() == (1, 1, 1)
            place.age(300)
        async with asyncio.timeout(30):
            while place.there() != (0, 0, 0):
                await asyncio.sleep(0)

    asyncio.run(scenario())


def test_lists_of_packages_that_no_version_has_go_with_their_wheels(place: Place) -> None:
    async def scenario() -> None:
        version = place.version("a", await place.upload("a", "shout"), "built")
        requests = place.store.environments.requests
        for name in ("wanted", "unwanted", "fresh"):
            (requests / name / "wheels").mkdir(parents=True)
            os.utime(requests / name, (0, 0) if name != "fresh" else None)
        spec = msgspec.structs.replace(place.versions[version].spec, packages=PackagesId("wanted"))
        place.versions[version] = Version(spec, facts=BundleFacts(), state="built")
        await place.built(version)
        assert {path.name for path in requests.iterdir()} == {"wanted", "fresh"}

    asyncio.run(scenario())
