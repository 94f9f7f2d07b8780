"""What a start does with what the last one left."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from glowplug.bundle.store import BundleStore
from glowplug.core.events import Deployed
from glowplug.core.ids import EnvironmentId, FunctionId, VersionId
from glowplug.core.specs import Declaration, FunctionSpec
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
