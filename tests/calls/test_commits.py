"""Many writes, one flush; and none that fails takes others with it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.calls.commits import GroupCommit
from glowplug.core.errors import QueueFull, Unavailable

from .fakes import WAIT_S, run


def inserts(number: int) -> Callable[[sqlite3.Connection], int]:
    def work(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO t VALUES (?)", (number,))
        return number

    return work


def opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
    return connection


def rows(path: Path) -> list[int]:
    with sqlite3.connect(path) as connection:
        return [row[0] for row in connection.execute("SELECT n FROM t ORDER BY n")]


def test_what_comes_while_one_group_is_written_goes_together(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "t.db"
        writer = GroupCommit(opened(path), lambda connection: None)
        held, let_go = threading.Event(), threading.Event()

        def wait(connection: sqlite3.Connection) -> None:
            held.set()
            let_go.wait(WAIT_S)

        first = writer.submit(wait)
        await asyncio.to_thread(held.wait, WAIT_S)
        others = [writer.submit(inserts(number)) for number in range(100)]
        let_go.set()
        await first
        assert await asyncio.gather(*others) == list(range(100))
        assert writer.groups == 2
        writer.close()
        assert rows(path) == list(range(100))

    run(scenario)


def test_a_piece_that_raises_leaves_no_trace_of_itself_and_none_on_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "t.db"
        writer = GroupCommit(opened(path), lambda connection: None)

        def refuses(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO t VALUES (1000)")
            raise QueueFull("no")

        jobs = [
            writer.submit(inserts(1)),
            writer.submit(refuses),
            writer.submit(inserts(1)),
            writer.submit(inserts(2)),
        ]
        found = await asyncio.gather(*jobs, return_exceptions=True)
        assert [type(each) for each in found] == [int, QueueFull, sqlite3.IntegrityError, int]
        writer.close()
        assert rows(path) == [1, 2]

    run(scenario)


def test_a_disk_that_fails_after_a_commit_costs_neither_it_nor_those_that_follow(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "t.db"

        def fails(connection: sqlite3.Connection) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        writer = GroupCommit(opened(path), fails)
        assert await writer.submit(inserts(1)) == 1
        assert await writer.submit(inserts(2)) == 2
        writer.close()
        assert rows(path) == [1, 2]

    run(scenario)


def test_closing_writes_what_was_submitted_and_takes_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "t.db"
        writer = GroupCommit(opened(path), lambda connection: None)
        jobs = [writer.submit(inserts(number)) for number in range(1000)]
        await asyncio.to_thread(writer.close)
        assert rows(path) == list(range(1000))
        assert await asyncio.gather(*jobs) == list(range(1000))
        with pytest.raises(Unavailable):
            writer.submit(inserts(0))

    run(scenario)
