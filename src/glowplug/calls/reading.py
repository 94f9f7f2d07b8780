"""Reading what is stored of calls, beside whoever writes: it sees what was committed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from glowplug.calls.schema import open_to_read
from glowplug.core.calls import CallId, CallRecord, CallState
from glowplug.core.errors import UNREADABLE, NoSpace, UnknownCall

T = TypeVar("T")
FULL_AGAIN_S = 10.0
"""When a disk that was full may be tried again."""
_DECODER = msgspec.json.Decoder(CallRecord)


class CallReader:
    """One thread that reads, for one event loop. Raises NoSpace when the disk fails."""

    def __init__(self, path: Path) -> None:
        """Of a file that is there. Raises sqlite3.Error."""
        self._connection = open_to_read(path)
        self._thread = ThreadPoolExecutor(1, "calls-read")

    def close(self) -> None:
        self._thread.shutdown()
        self._connection.close()

    async def find(self, call: CallId) -> CallRecord:
        """Raises UnknownCall."""
        found = await self._read(lambda c: find_record(c, call))
        if found is None:
            raise unknown_call(call)
        return found

    async def result(self, call: CallId) -> bytes | None:
        """The body of a call that is done."""

        def work(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT data FROM results WHERE id=?", (call,)).fetchone()
            return None if row is None else row[0]

        return await self._read(work)

    async def list(
        self, function: str | None, some: Iterable[CallState], before: str | None, limit: int
    ) -> list[CallRecord]:
        """The newest `limit`, newest first: of one function, in one of some states, older than `before`."""
        conditions = ["1"]
        values: list[str] = []
        if wanted := tuple(some):
            conditions.append(f"state IN ({','.join('?' * len(wanted))})")
            values += wanted
        if function is not None:
            conditions.append("function=?")
            values.append(function)
        if before is not None:
            conditions.append("id<?")
            values.append(before)
        query = f"SELECT record FROM calls WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?"
        rows = await self._read(lambda c: c.execute(query, (*values, limit)).fetchall())
        return [decode_record(row[0]) for row in rows]

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with disk_errors("spawned calls cannot be read"):
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._connection)


def unknown_call(call: str) -> UnknownCall:
    return UnknownCall(f"no call {call[:80]!r} is stored: results are kept for a while only")


def find_record(connection: sqlite3.Connection, call: CallId) -> CallRecord | None:
    row = connection.execute("SELECT record FROM calls WHERE id=?", (call,)).fetchone()
    return None if row is None else decode_record(row[0])


def decode_record(record: bytes) -> CallRecord:
    """Raises sqlite3.DatabaseError, as for any other damage of the file."""
    try:
        return _DECODER.decode(record)
    except (TypeError, *UNREADABLE) as error:
        raise sqlite3.DatabaseError(f"the record of a call is damaged: {error}") from None


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise NoSpace(f"{what}: {error}", FULL_AGAIN_S) from error
