"""What was acknowledged is found again."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glowplug.core.ids import EnvironmentId, FunctionId, VersionId
from glowplug.core.specs import BundleFacts, Declaration, FunctionSpec
from glowplug.server.database import Database
from tests.depth import examples

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


def test_a_file_that_others_could_read_is_its_owners_again(path: Path) -> None:
    """As a start leaves it that is killed at the wrong line, or a backup that was put back."""
    path.touch(0o644)
    path.chmod(0o644)
    database = Database(path)
    database.set_secret("default", "KEY", "value")
    assert [each.name for each in path.parent.iterdir() if each.stat().st_mode & 0o077] == []
    database.close()


def test_secrets_are_read_while_a_write_is_being_flushed(path: Path) -> None:
    database = Database(path)
    database.set_secret("default", "KEY", "value")
    writes = sqlite3.connect(path, isolation_level=None)
    with ThreadPoolExecutor(1) as pool, database._lock:
        writes.execute("BEGIN IMMEDIATE")
        writes.execute("DELETE FROM secrets")
        assert pool.submit(database.secrets, "default").result(30) == {"KEY": "value"}
        writes.execute("COMMIT")
    writes.close()
    assert database.secrets("default") == {}
    database.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "glowplug.db"
    database = Database(path)
    for version in range(40):
        database.save_version(spec(f"v{version}"))
        database.save_facts(VersionId(f"v{version}"), BundleFacts(weight_bytes=7))
    database.set_secret("default", "KEY", "value")
    database.close()
    return path.read_bytes()


@settings(
    max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_is_an_error_of_the_database_or_without_effect(
    data: st.DataObject, sound: bytes, tmp_path: Path
) -> None:
    content = bytearray(sound)
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(100, len(content))) :]
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    for left in tmp_path.iterdir():
        left.unlink()
    (tmp_path / "glowplug.db").write_bytes(content)
    try:
        database = Database(tmp_path / "glowplug.db")
    except sqlite3.Error:
        return
    try:
        for found in database.versions():
            assert found.spec == spec(found.spec.version)
            assert found.facts in (None, BundleFacts(weight_bytes=7))
        assert database.secrets("default") in ({}, {"KEY": "value"})
        database.save_version(spec("new"), {VersionId("v1")})
    except sqlite3.Error:
        pass
    finally:
        database.close()


def test_a_damaged_version_is_named(path: Path) -> None:
    database = Database(path)
    database.save_version(spec("a"))
    with sqlite3.connect(path) as disk:
        disk.execute("UPDATE versions SET spec=CAST(substr(spec, 1, 40) AS BLOB)")
    with pytest.raises(sqlite3.DatabaseError, match="the record of version a is damaged"):
        database.versions()
    database.close()


@pytest.mark.parametrize("place", [1, 20, -1])
def test_a_single_bit_is_noticed(path: Path, place: int) -> None:
    database = Database(path)
    database.save_version(spec("a"))
    database.set_secret("default", "KEY", "a value of more than twenty letters")
    for table, column in (("versions", "spec"), ("secrets", "value")):
        with sqlite3.connect(path) as disk:
            (content,) = disk.execute(f"SELECT {column} FROM {table}").fetchone()
            flipped = bytearray(content)
            flipped[place] ^= 1
            disk.execute(f"UPDATE {table} SET {column}=?", (bytes(flipped),))
    with pytest.raises(sqlite3.DatabaseError, match="the record of version a is damaged: it is not what was"):
        database.versions()
    with pytest.raises(sqlite3.DatabaseError, match="a secret is damaged"):
        database.secrets("default")
    database.close()


def test_a_secret_is_not_found_under_another_name(path: Path) -> None:
    database = Database(path)
    database.set_secret("default", "KEY", "value")
    with sqlite3.connect(path) as disk:
        disk.execute("UPDATE secrets SET name='OTHER'")
    with pytest.raises(sqlite3.DatabaseError, match="a secret is damaged"):
        database.secrets("default")
    database.close()


def test_records_of_another_format_are_refused(path: Path) -> None:
    with sqlite3.connect(path) as disk:
        disk.execute("CREATE TABLE versions (number INTEGER)")
    with pytest.raises(sqlite3.DatabaseError, match="another version of Glowplug wrote it"):
        Database(path)
