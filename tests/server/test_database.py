"""What was acknowledged is found again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from glowplug.core.ids import EnvironmentId, FunctionId, VersionId
from glowplug.core.specs import BundleFacts, Declaration, FunctionSpec
from glowplug.server.database import Database

FUNCTION = FunctionId("shout.default")


def spec(version: str) -> FunctionSpec:
    declaration = Declaration("shout", "function", "app", "shout")
    return FunctionSpec(FUNCTION, VersionId(version), "default", EnvironmentId("e"), "u", declaration)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "glowplug.db"


def test_versions_come_back_oldest_first(path: Path) -> None:
    first = Database(path)
    for version in ("a", "b", "c"):
        first.save_version(spec(version))
    first.save_facts(VersionId("b"), BundleFacts(weight_bytes=7))
    first.save_error(VersionId("c"), "no")
    first.save_version(spec("a"))
    first.close()
    second = Database(path)
    found = second.versions()
    assert [v.spec.version for v in found] == ["b", "c", "a"]
    assert (found[0].facts, found[1].error) == (BundleFacts(weight_bytes=7), "no")
    second.close()


def test_saving_again_keeps_what_was_found_out(path: Path) -> None:
    database = Database(path)
    database.save_version(spec("a"))
    database.save_facts(VersionId("a"), BundleFacts(weight_bytes=7))
    database.save_version(spec("a"))
    assert database.versions()[0].facts == BundleFacts(weight_bytes=7)
    database.close()


def test_a_version_that_was_not_acknowledged_is_not_found_again(path: Path) -> None:
    """Its disk took the version, and not that others are forgotten."""
    database = Database(path)
    database.save_version(spec("a"))
    with sqlite3.connect(path) as disk:
        disk.execute(
            "CREATE TRIGGER full BEFORE DELETE ON versions BEGIN SELECT RAISE(ABORT, 'no space left'); END"
        )
    with pytest.raises(sqlite3.Error, match="no space left"):
        database.save_version(spec("b"), set())
    assert [v.spec.version for v in database.versions()] == ["a"]
    database.close()


def test_versions_that_nobody_needs_are_forgotten(path: Path) -> None:
    database = Database(path)
    for version in "abcde":
        database.save_version(spec(version))
    database.save_version(spec("f"), {VersionId("a")})
    assert [v.spec.version for v in database.versions()] == ["a", "f"]
    database.remove_function(FUNCTION)
    assert database.versions() == []
    database.close()


def test_secrets_belong_to_a_namespace_and_the_file_to_its_owner(path: Path) -> None:
    database = Database(path)
    database.set_secret("default", "KEY", "value")
    assert database.secrets("default") == {"KEY": "value"}
    assert database.secrets("other") == {}
    database.remove_secret("default", "KEY")
    assert database.secrets("default") == {}
    assert path.stat().st_mode & 0o077 == 0
    database.close()
