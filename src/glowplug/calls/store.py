"""Where spawned calls are kept: one SQLite file. What was acknowledged is found again after a kill -9."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, get_args

import msgspec

from glowplug.calls import states
from glowplug.calls.commits import GroupCommit, Work
from glowplug.calls.reading import (
    FULL_AGAIN_S,
    CallReader,
    decode_record,
    disk_errors,
    find_record,
    unknown_call,
)
from glowplug.calls.schema import open_to_write
from glowplug.core.calls import CallId, CallRecord, CallState
from glowplug.core.errors import IdempotencyKeyReused, NoSpace, QueueFull
from glowplug.core.settings import CallSettings
from glowplug.core.units import show_bytes, show_seconds

T = TypeVar("T")
Change = Callable[[CallRecord], CallRecord]
_A_SWEEP = 500
_PAGES_KEPT = 256
"""Free pages that new calls will use; a page has 4 KiB."""
_PAGES_GIVEN_BACK = 2000


class CallStore:
    """Methods that write return once that is flushed, and raise NoSpace when the disk does not take it.

    Records are changed only by functions of `states`, inside the transaction that read them.
    """

    def __init__(self, path: Path, settings: CallSettings) -> None:
        """Raises sqlite3.Error when the file cannot be opened."""
        self._settings = settings
        self._connection = open_to_write(path)
        self.reader = CallReader(path)
        self.totals = _read_totals(self._connection)
        """Calls by state, `argument_bytes`, `result_bytes`: as of the last commit."""
        self._writer: GroupCommit | None = None

    def open(self) -> None:
        """Begins to write, for the event loop that runs."""
        self._writer = GroupCommit(self._connection, self._after_commit)

    def close(self) -> None:
        """Writes what was submitted, and closes the file."""
        self.reader.close()
        if self._writer is not None:
            self._writer.close()
        else:
            self._connection.close()

    # writing

    async def accept(self, call: CallRecord, body: bytes, key: str | None) -> tuple[CallRecord, bool]:
        """Stores a call; returns it, or with False the one that its idempotency key belongs to already.

        Raises QueueFull, NoSpace, IdempotencyKeyReused.
        """

        def work(connection: sqlite3.Connection) -> tuple[CallRecord, bool]:
            digest = None if key is None else _digest(call, body)
            if key is not None:
                earlier = connection.execute(
                    "SELECT record, digest FROM calls WHERE function=? AND key=?", (call.function, key)
                ).fetchone()
                if earlier is not None:
                    if earlier[1] != digest:
                        raise IdempotencyKeyReused(
                            f"key {key[:80]!r} belongs to a call of {call.function} "
                            "with another body or endpoint"
                        )
                    return decode_record(earlier[0]), False
            self._check_room(_read_totals(connection), len(body))
            connection.execute(
                "INSERT INTO calls (id, function, state, key, digest, deadline_s, record) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (call.id, call.function, call.state, key, digest, call.deadline_s, msgspec.json.encode(call)),
            )
            connection.execute("INSERT INTO arguments VALUES (?, ?)", (call.id, body))
            return call, True

        return await self._write(work, "the call")

    def _check_room(self, totals: dict[str, int], body_bytes: int) -> None:
        settings = self._settings
        if totals["waiting"] + totals["started"] >= settings.max_waiting:
            raise QueueFull(f"{settings.max_waiting} spawned calls wait already", FULL_AGAIN_S)
        if sum(totals[state] for state in get_args(CallState)) >= settings.max_stored:
            kept = show_seconds(settings.results_kept_s)
            raise QueueFull(
                f"{settings.max_stored} calls are stored; results are kept for {kept}", FULL_AGAIN_S
            )
        if totals["argument_bytes"] + body_bytes > settings.max_argument_bytes:
            most = show_bytes(settings.max_argument_bytes)
            raise NoSpace(f"the arguments of spawned calls may have {most} in all", FULL_AGAIN_S)

    async def start(self, call: CallId, change: Change, now_s: float) -> tuple[CallRecord | None, bytes]:
        """As `change`, with the arguments. None when the call is gone."""

        def work(connection: sqlite3.Connection) -> tuple[CallRecord | None, bytes]:
            found = find_record(connection, call)
            if found is None:
                return None, b""
            record = self._put(connection, found, change(found), now_s)
            row = connection.execute("SELECT data FROM arguments WHERE id=?", (call,)).fetchone()
            return record, row[0] if row is not None else b""

        return await self._write(work, f"that call {call} starts")

    async def change(
        self, call: CallId, change: Change, now_s: float, result: bytes | None = None
    ) -> CallRecord:
        """Makes of a call what `change` says, which may raise. `result` is kept if it is done then.

        Raises UnknownCall.
        """

        def work(connection: sqlite3.Connection) -> CallRecord:
            found = find_record(connection, call)
            if found is None:
                raise unknown_call(call)
            changed = self._put(connection, found, change(found), now_s)
            if result is not None and changed is not found and changed.state == "done":
                connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (call, result))
            return changed

        return await self._write(work, f"what became of call {call}")

    async def expire(self, now_s: float) -> list[CallRecord]:
        """Changes a sweep of the calls that wait past their deadline; returns them."""
        if not self.totals["waiting"]:
            return []

        def work(connection: sqlite3.Connection) -> list[CallRecord]:
            rows = connection.execute(
                "SELECT record FROM calls WHERE state='waiting' AND deadline_s<=? LIMIT ?", (now_s, _A_SWEEP)
            ).fetchall()
            found = [decode_record(row[0]) for row in rows]
            return [self._put(connection, each, states.expire(each, now_s), now_s) for each in found]

        return await self._write(work, "that calls are dead")

    async def restore(self, change: Change, after: CallId, now_s: float) -> list[CallRecord]:
        """Changes a page of the calls that wait to run, run or are to be posted somewhere, and returns it:
        the oldest that are younger than `after`."""

        def work(connection: sqlite3.Connection) -> list[CallRecord]:
            rows = connection.execute(
                "SELECT record FROM calls WHERE id>? AND "
                "(state IN ('waiting', 'started') OR callback_due_s IS NOT NULL) ORDER BY id LIMIT ?",
                (after, _A_SWEEP),
            ).fetchall()
            found = [decode_record(row[0]) for row in rows]
            return [self._put(connection, each, change(each), now_s) for each in found]

        return await self._write(work, "what became of the calls of the last start")

    async def keep_no_longer(self, now_s: float) -> None:
        """What is kept for a while is kept no longer than that from now: the clock may have been moved."""
        longest_s = now_s + max(self._settings.results_kept_s, self._settings.dead_letters_kept_s)
        await self._write(
            lambda c: c.execute("UPDATE calls SET expires_s=?1 WHERE expires_s>?1", (longest_s,)),
            "how long calls are kept",
        )

    async def collect(self, now_s: float) -> int:
        """Forgets a sweep of the calls whose time is over; returns how many."""

        def work(connection: sqlite3.Connection) -> int:
            found = connection.execute(
                "DELETE FROM calls WHERE id IN (SELECT id FROM calls WHERE expires_s<=? LIMIT ?)",
                (now_s, _A_SWEEP),
            ).rowcount
            _give_back(connection)
            return found

        return await self._write(work, "that old calls are forgotten")

    # inside

    def _put(
        self, connection: sqlite3.Connection, old: CallRecord, new: CallRecord, now_s: float
    ) -> CallRecord:
        if new is old:
            return old
        connection.execute(
            "UPDATE calls SET state=?, deadline_s=?, expires_s=?, callback_due_s=?, record=? WHERE id=?",
            (new.state, new.deadline_s, states.expires_s(new, self._settings, now_s),
             states.callback_due_s(new), msgspec.json.encode(new), new.id),
        )  # fmt: skip
        if states.keeps_arguments(old) and not states.keeps_arguments(new):
            connection.execute("DELETE FROM arguments WHERE id=?", (new.id,))
        return new

    def _after_commit(self, connection: sqlite3.Connection) -> None:
        self.totals = _read_totals(connection)

    async def _write(self, work: Work[T], what: str) -> T:
        assert self._writer is not None, "the store is not open"
        with disk_errors(f"{what} cannot be stored"):
            return await asyncio.shield(self._writer.submit(work))


def _give_back(connection: sqlite3.Connection) -> None:
    """Pages that nothing uses go back to the file system, some at a time. Python's sqlite3 steps a pragma
    without columns once, which frees one page however many are asked for."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    for _ in range(min(free - _PAGES_KEPT, _PAGES_GIVEN_BACK)):
        connection.execute("PRAGMA incremental_vacuum(1)")


def _read_totals(connection: sqlite3.Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT name, value FROM totals").fetchall())


def _digest(call: CallRecord, body: bytes) -> bytes:
    digest = hashlib.sha256(f"{call.endpoint}\0{call.content_type}\0{call.accept}\0".encode())
    digest.update(body)
    return digest.digest()
