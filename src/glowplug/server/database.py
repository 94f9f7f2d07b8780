"""What must survive a kill -9: deployed versions and secrets, in one SQLite file.

Every write is flushed before it returns, so what was acknowledged is found again by the next start.
"""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Collection
from pathlib import Path

import msgspec

from glowplug.core.errors import UNREADABLE
from glowplug.core.ids import FunctionId, VersionId
from glowplug.core.specs import BundleFacts, FunctionSpec

_FORMAT = 1
"""Of the records, as `PRAGMA user_version` has it."""
_SCHEMA = f"""
BEGIN;
CREATE TABLE IF NOT EXISTS versions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, function TEXT NOT NULL, version TEXT NOT NULL UNIQUE,
    spec BLOB NOT NULL, facts BLOB, error TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS versions_by_function ON versions (function);
CREATE TABLE IF NOT EXISTS secrets (
    namespace TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (namespace, name));
PRAGMA user_version={_FORMAT};
COMMIT;
"""
_CHECK_BYTES = 4


class StoredVersion(msgspec.Struct, frozen=True):
    spec: FunctionSpec
    facts: BundleFacts | None
    error: str


class Database:
    """Safe to use from several threads; each call is one transaction. Raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._lock, self._reading = threading.Lock(), threading.Lock()
        _keep_private(path)
        self._connection = _connect(path)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._check_format()
        self._connection.executescript(_SCHEMA)
        self._reader = _connect(path)
        """Does not wait for a write that is being flushed: the server's event loop reads secrets."""
        self._reader.execute("PRAGMA query_only=ON")

    def _check_format(self) -> None:
        (found,) = self._connection.execute("PRAGMA user_version").fetchone()
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and found != _FORMAT:
            self._connection.close()
            raise sqlite3.DatabaseError(
                "another version of Glowplug wrote it: deploy again, with another --state-dir"
            )

    def save_version(
        self,
        spec: FunctionSpec,
        kept: Collection[VersionId] | None = None,
        facts: BundleFacts | None = None,
    ) -> None:
        """Stores a version as its function's newest, which is the one that a restart makes active, with the
        `facts` of a bundle that is there already. With `kept` all others of its function but these are
        forgotten: both, or neither."""
        data = _sealed(msgspec.json.encode(spec), spec.version)
        known = None if facts is None else _sealed(msgspec.json.encode(facts), spec.version)
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            row = self._connection.execute(
                "SELECT facts FROM versions WHERE version=?", (spec.version,)
            ).fetchone()
            if known is None and row:
                known = row[0]
            self._connection.execute("DELETE FROM versions WHERE version=?", (spec.version,))
            self._connection.execute(
                "INSERT INTO versions (function, version, spec, facts) VALUES (?, ?, ?, ?)",
                (spec.function, spec.version, data, known),
            )
            if kept is not None:
                marks = ",".join("?" * (1 + len(kept)))
                self._connection.execute(
                    f"DELETE FROM versions WHERE function=? AND version NOT IN ({marks})",
                    (spec.function, spec.version, *kept),
                )

    def save_facts(self, version: VersionId, facts: BundleFacts) -> None:
        data = _sealed(msgspec.json.encode(facts), version)
        self._write("UPDATE versions SET facts=?, error='' WHERE version=?", data, version)

    def save_error(self, version: VersionId, error: str) -> None:
        self._write("UPDATE versions SET error=? WHERE version=?", error, version)

    def remove_function(self, function: FunctionId) -> None:
        self._write("DELETE FROM versions WHERE function=?", function)

    def versions(self) -> list[StoredVersion]:
        """Every version, oldest first."""
        with self._reading:
            rows = self._reader.execute(
                "SELECT version, spec, facts, error FROM versions ORDER BY number"
            ).fetchall()
        return [_stored(*row) for row in rows]

    def set_secret(self, namespace: str, name: str, value: str) -> None:
        data = _sealed(value.encode(), namespace, name)
        self._write("INSERT OR REPLACE INTO secrets VALUES (?, ?, ?)", namespace, name, data)

    def remove_secret(self, namespace: str, name: str) -> bool:
        """Whether it was there."""
        return self._write("DELETE FROM secrets WHERE namespace=? AND name=?", namespace, name) > 0

    def secrets(self, namespace: str) -> dict[str, str]:
        with self._reading:
            rows = self._reader.execute("SELECT name, value FROM secrets WHERE namespace=?", (namespace,))
            return {name: _secret(value, namespace, name) for name, value in rows.fetchall()}

    def close(self) -> None:
        with self._reading:
            self._reader.close()
        with self._lock:
            self._connection.close()

    def _write(self, statement: str, *values: object) -> int:
        """Returns the number of rows it changed."""
        with self._lock, self._connection:
            return self._connection.execute(statement, values).rowcount


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)


def _keep_private(path: Path) -> None:
    """Before SQLite makes it, whose log and index get its mode; also what another tool put there again.
    Raises sqlite3.Error."""
    try:
        path.touch(0o600)
        for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            if each.exists():
                each.chmod(0o600)
    except OSError as error:
        raise sqlite3.OperationalError(f"{path}: {error}") from error


def _stored(version: VersionId, spec: bytes, facts: bytes | None, error: str) -> StoredVersion:
    try:
        return StoredVersion(
            msgspec.json.decode(_opened(spec, version), type=FunctionSpec),
            None if facts is None else msgspec.json.decode(_opened(facts, version), type=BundleFacts),
            error,
        )
    except (TypeError, ValueError, *UNREADABLE) as damage:
        raise sqlite3.DatabaseError(f"the record of version {version} is damaged: {damage}") from None


def _secret(value: bytes, namespace: str, name: str) -> str:
    try:
        return _opened(value, namespace, name).decode()
    except (TypeError, ValueError) as damage:
        raise sqlite3.DatabaseError(f"a secret is damaged: {damage}") from None


def _sealed(data: bytes, *keys: str) -> bytes:
    """`data` behind a checksum of it and of what it is found by: SQLite has none of its own."""
    return _checksum(data, keys) + data


def _opened(sealed: bytes, *keys: str) -> bytes:
    """Raises ValueError, TypeError where these are not the bytes that were stored."""
    data = sealed[_CHECK_BYTES:]
    if sealed[:_CHECK_BYTES] != _checksum(data, keys):
        raise ValueError("it is not what was stored")
    return data


def _checksum(data: bytes, keys: Collection[str]) -> bytes:
    found = zlib.crc32("\0".join(keys).encode("utf-8", "surrogatepass"))
    return zlib.crc32(data, found).to_bytes(_CHECK_BYTES, "big")
