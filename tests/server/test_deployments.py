"""What a start does with what the last one left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from glowplug.bundle.inspect import Inspection
from glowplug.bundle.manifest import Manifest
from glowplug.bundle.provenance import installed
from glowplug.bundle.store import BundleStore
from glowplug.bundle.trees import remove_tree
from glowplug.bundle.uploads import write_upload
from glowplug.core.events import Deployed
from glowplug.core.ids import EnvironmentId, FunctionId, VersionId
from glowplug.core.specs import BundleFacts, Declaration, FunctionSpec
from glowplug.gateway.platform import DeployRequest
from glowplug.server.database import Database
from glowplug.server.deployments import Deployments


def test_nothing_is_built_before_what_nobody_needs_is_gone(tmp_path: Path) -> None:
    """A pack that is built meanwhile is named by nobody yet."""
    store, database = BundleStore(tmp_path), Database(tmp_path / "glowplug.db")
    store.prepare()
    declaration = Declaration("shout", "function", "app", "shout")
    spec = FunctionSpec(
        FunctionId("shout.default"), VersionId("v"), "default", EnvironmentId("e"), "u", declaration
    )
    database.save_version(spec)
    old = store.pack_path("0" * 64)
    old.write_bytes(b"x")
    seen: list[tuple[type, bool]] = []
    driver: Any = SimpleNamespace(post=lambda event: seen.append((type(event), old.exists())))
    deployments = Deployments(store, database, driver)
    deployments.restore()
    deployments.close()
    database.close()
    assert seen == [(Deployed, False)]


@pytest.mark.parametrize("then", ["0.0.1", ""])
def test_what_was_built_with_another_torch_is_told(tmp_path: Path, then: str) -> None:
    store, database = BundleStore(tmp_path), Database(tmp_path / "glowplug.db")
    store.prepare()
    declaration = Declaration("shout", "function", "app", "shout")
    now = installed()["torch"]
    versions = [("shout", then or now), ("whisper", then or now), ("again", "0.0.1"), ("again", now)]
    for number, (name, torch) in enumerate(versions):
        function, version, built_with = (
            FunctionId(f"{name}.default"),
            VersionId(str(number)),
            {"torch": torch},
        )
        spec = FunctionSpec(function, version, "default", EnvironmentId("e"), "u", declaration)
        database.save_version(spec)
        database.save_facts(version, BundleFacts())
        store.publish(
            Manifest(version, function, declaration, "code", built_with=built_with), tmp_path / "code"
        )
    driver: Any = SimpleNamespace(post=lambda event: None)
    deployments = Deployments(store, database, driver)
    with capture_logs() as logs:
        deployments.restore()
    deployments.close()
    database.close()
    told = [(each["changed"], each["functions"]) for each in logs]
    what = f"torch 0.0.1, now {now}"
    assert told == ([(what, ["shout.default", "whisper.default"])] if then else [])


def test_what_is_deployed_again_while_its_bundle_is_there_survives_a_start_without_its_upload(
    tmp_path: Path,
) -> None:
    """Nothing is built then, so that nobody tells of it later."""
    store, database = BundleStore(tmp_path), Database(tmp_path / "glowplug.db")
    store.prepare()
    (tmp_path / "app.py").write_text("")
    declaration = Declaration("shout", "function", "app", "shout")
    write_upload(tmp_path / "app.py", Inspection((declaration,), ("app.py",)), tmp_path / "upload.tar")
    posted: list[Any] = []
    versions: dict[Any, Any] = {}
    state = SimpleNamespace(functions={}, context=SimpleNamespace(store=SimpleNamespace(versions=versions)))
    driver: Any = SimpleNamespace(post=posted.append, state=state)

    async def chunks() -> AsyncIterator[bytes]:
        yield (tmp_path / "upload.tar").read_bytes()

    async def scenario() -> None:
        upload, _ = await store.receive_upload(chunks(), 2**20)
        deployments = Deployments(store, database, driver)
        await deployments.deploy(DeployRequest("shout", upload), update=False)
        first = posted.pop()
        assert first.facts is None, "it is to be built"
        facts = BundleFacts(build_s=1.0, peak_bytes=7)
        version = first.spec.version
        store.publish(Manifest(version, first.spec.function, declaration, "code", facts=facts), tmp_path)
        database.remove_function(first.spec.function)
        await deployments.deploy(DeployRequest("shout", upload), update=False)
        assert posted.pop().facts == facts
        (stored,) = database.versions()
        assert stored.facts == facts
        for path in store.uploads.iterdir():
            remove_tree(path)
        deployments.restore()
        assert posted.pop().facts == facts
        database.save_version(stored.spec)
        database._write("UPDATE versions SET facts=NULL")
        deployments.restore()
        assert posted.pop().facts == facts, "the bundle's own word is enough"
        deployments.close()

    asyncio.run(scenario())
    database.close()
