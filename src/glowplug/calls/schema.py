"""The tables of spawned calls. Totals are kept by triggers, so that they are right in every transaction."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_WAL_BYTES_KEPT = 64 * 2**20
_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    id TEXT PRIMARY KEY, function TEXT NOT NULL, state TEXT NOT NULL, key TEXT, digest BLOB,
    deadline_s REAL NOT NULL, expires_s REAL, callback_due_s REAL, record BLOB NOT NULL) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS calls_by_key ON calls (function, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS calls_by_state ON calls (state, id);
CREATE INDEX IF NOT EXISTS calls_by_function ON calls (function, id);
CREATE INDEX IF NOT EXISTS calls_that_wait ON calls (deadline_s) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS calls_that_expire ON calls (expires_s) WHERE expires_s IS NOT NULL;
CREATE INDEX IF NOT EXISTS calls_that_call_back ON calls (callback_due_s) WHERE callback_due_s IS NOT NULL;
CREATE TABLE IF NOT EXISTS arguments (id TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS results (id TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO totals VALUES ('waiting', 0), ('started', 0), ('done', 0), ('failed', 0), ('dead', 0),
    ('lost', 0), ('cancelled', 0), ('argument_bytes', 0), ('result_bytes', 0);
CREATE TRIGGER IF NOT EXISTS call_added AFTER INSERT ON calls BEGIN
    UPDATE totals SET value = value + 1 WHERE name = NEW.state; END;
CREATE TRIGGER IF NOT EXISTS call_removed AFTER DELETE ON calls BEGIN
    UPDATE totals SET value = value - 1 WHERE name = OLD.state;
    DELETE FROM arguments WHERE id = OLD.id; DELETE FROM results WHERE id = OLD.id; END;
CREATE TRIGGER IF NOT EXISTS call_changed AFTER UPDATE ON calls WHEN OLD.state != NEW.state BEGIN
    UPDATE totals SET value = value - 1 WHERE name = OLD.state;
    UPDATE totals SET value = value + 1 WHERE name = NEW.state; END;
CREATE TRIGGER IF NOT EXISTS arguments_added AFTER INSERT ON arguments BEGIN
    UPDATE totals SET value = value + length(NEW.data) WHERE name = 'argument_bytes'; END;
CREATE TRIGGER IF NOT EXISTS arguments_removed AFTER DELETE ON arguments BEGIN
    UPDATE totals SET value = value - length(OLD.data) WHERE name = 'argument_bytes'; END;
CREATE TRIGGER IF NOT EXISTS result_added AFTER INSERT ON results BEGIN
    UPDATE totals SET value = value + length(NEW.data) WHERE name = 'result_bytes'; END;
CREATE TRIGGER IF NOT EXISTS result_removed AFTER DELETE ON results BEGIN
    UPDATE totals SET value = value - length(OLD.data) WHERE name = 'result_bytes'; END;
"""


def open_to_write(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode whose commits are flushed; for one thread at a time.

    Raises sqlite3.Error, OSError.
    """
    path.touch(0o600)
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA journal_size_limit={_WAL_BYTES_KEPT}")
    connection.executescript(_SCHEMA)
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """As `open_to_write`, of a file that is there; it sees what was committed, while others write."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
    connection.execute("PRAGMA query_only=ON")
    return connection
