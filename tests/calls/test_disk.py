"""What the disk does to calls: it is full, the process that writes is killed, the file is none."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glowplug.calls.states import Outcome
from glowplug.calls.store import CallStore
from glowplug.core.calls import CallRecord
from glowplug.core.errors import NoSpace
from glowplug.core.settings import CallSettings

from .fakes import Office, office, run

WRITER = """
import asyncio, sys
from pathlib import Path
from tests.calls.fakes import FakeFunctions, office

async def main():
    functions = FakeFunctions()
    functions.by_default = None
    async with office(Path(sys.argv[1]), functions) as o:
        async def spawn_on(name):
            number = 0
            while True:
                call = await o.spawn(name, body=f"{name}{number}".encode(), key=f"{number}")
                print(call.id, name, number, flush=True)
                number += 1
        await asyncio.gather(*(spawn_on(name) for name in "abcdefgh"))

asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 200, 1000])
def test_whatever_was_acknowledged_is_there_after_a_kill(tmp_path: Path, after: int) -> None:
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stdout=subprocess.PIPE, env=env, text=True
    ) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline().split() for _ in range(after)]
        os.kill(writer.pid, signal.SIGKILL)
        told += [words for line in writer.stdout if len(words := line.split()) == 3]

    async def scenario() -> None:
        async with office(tmp_path, max_running_bytes=1) as o:
            o.functions.by_default = None
            for call, name, number in told:
                again = await o.spawn(name, body=f"{name}{number}".encode(), key=number)
                assert again.id == call
            totals = o.desk.store.totals
            assert totals["waiting"] + totals["started"] >= len(told)

    run(scenario)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


async def spawn_until_full(o: Office, accepted: list[CallRecord]) -> None:
    while len(accepted) < 1000:
        accepted += [await o.spawn(body=b"x" * 10_000)]


def test_a_full_disk_refuses_and_loses_nothing(small_disk: Path) -> None:
    async def scenario() -> None:
        async with office(small_disk) as o:
            o.functions.by_default = None
            accepted = await o.spawn()
            _, answer = await o.functions.asked()
            fill(small_disk / "filler")
            others: list[CallRecord] = []
            with pytest.raises(NoSpace, match="cannot be stored"):
                await spawn_until_full(o, others)
            answer.set_result(Outcome(True, content_type="text/plain", body=b"y" * 200_000))
            with pytest.raises(NoSpace):
                await o.spawn(body=b"x" * 10_000)
            (small_disk / "filler").unlink()
            assert (await o.ended(accepted)).result_bytes == 200_000
            assert await o.desk.result(accepted.id) == b"y" * 200_000
            for call in (*others, await o.spawn()):
                assert (await o.desk.cancel(call.id)).state == "cancelled"

    run(scenario)


def test_a_start_on_a_full_disk_takes_calls_up_once_there_is_room(small_disk: Path) -> None:
    """What has room for little cannot say of 64 calls that they are no longer started."""

    async def scenario() -> None:
        async with office(small_disk) as o:
            o.functions.by_default = None
            calls = [await o.spawn(f"f{number % 8}", accept="x" * 1000) for number in range(64)]
            for _ in calls:
                await o.functions.asked()
        fill(small_disk / "filler")
        os.truncate(small_disk / "filler", (small_disk / "filler").stat().st_size - 68 * 1024)
        async with office(small_disk) as o:
            with pytest.raises(NoSpace, match="not taken up"):
                await o.spawn()
            assert o.functions.runs == []
            (small_disk / "filler").unlink()
            for call in calls:
                while (await o.desk.find(call.id, 1.0)).state != "done":
                    pass
            assert (await o.ended(await o.spawn())).state == "done"

    run(scenario)


def test_a_file_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "calls.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        CallStore(tmp_path / "calls.db", CallSettings())


def test_a_damaged_record_is_told_and_nothing_else_ends(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path) as o:
            o.functions.by_default = None
            call = await o.spawn()
        with sqlite3.connect(tmp_path / "calls.db") as disk:
            disk.execute("UPDATE calls SET record=CAST(substr(record, 1, 20) AS BLOB)")
        async with office(tmp_path) as o:
            with pytest.raises(NoSpace, match="not taken up"):
                await o.spawn()
            with pytest.raises(NoSpace, match="the record of a call is damaged"):
                await o.desk.find(call.id, 0.0)

    run(scenario)


def test_collecting_gives_space_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path) as o:
            o.functions.by_default = Outcome(True, body=b"x" * 100_000)
            for call in [await o.spawn() for _ in range(50)]:
                await o.ended(call)
            o.later_s = 3700
            await o.desk.sweep()
            assert o.desk.store.totals["result_bytes"] == 0
        assert (tmp_path / "calls.db").stat().st_size < 2_000_000

    run(scenario)
