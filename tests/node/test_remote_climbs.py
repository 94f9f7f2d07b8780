"""A worker that climbs while its pack still comes."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from glowplug.core.commands import Target
from glowplug.core.ids import NodeId
from glowplug.loader.arbiter import Priority
from glowplug.loader.io_priority import AS_NICE, IDLE, LOWEST, io_priority
from glowplug.node.remote import RemoteClimbs
from glowplug.node.streams import Stream, _adopt


class Deaf(Stream):
    """An agent that is out of descriptors when it would make a pipe."""

    def listen(self) -> int:
        raise OSError(errno.EMFILE, "Too many open files")


def test_no_descriptor_is_lost_when_there_can_be_no_pipe(tmp_path: Path) -> None:
    path = tmp_path / "coming"
    path.write_bytes(b"weights")
    failed: list[str] = []
    before = sorted(Path("/proc/self/fd").iterdir())
    asyncio.run(_climb(path, failed))
    assert failed == ["weights"]
    assert sorted(Path("/proc/self/fd").iterdir()) == before


async def _climb(path: Path, failed: list[str]) -> None:
    """A climb whose pack can be mapped and is not whole."""
    loop = asyncio.get_running_loop()
    stream = Deaf(path, loop.create_future(), loop.create_future())
    stream.opened.set_result(None)
    tasks: list[asyncio.Task[None]] = []
    agent: Any = SimpleNamespace(
        spawn=lambda work: tasks.append(loop.create_task(work)),
        climbs=SimpleNamespace(parent_of=lambda command: object()),
        fail=lambda command, code, message: failed.append(code),
    )
    climbs = RemoteClimbs(agent)
    climbs._streams = SimpleNamespace(fetch=lambda pack, priority: stream)  # type: ignore[assignment]
    command: Any = SimpleNamespace(
        id=1, target=Target("instance", NodeId("a"), "1"), prime=False, device=None, priority=2,
        facts=SimpleNamespace(pack="p"), spec=SimpleNamespace(function="f"),
    )  # fmt: skip
    climbs.start(command, {}, [])
    await asyncio.gather(*tasks)


def test_a_pack_is_hashed_in_the_class_of_who_waits_for_it_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(_hash(tmp_path, monkeypatch))


async def _hash(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    path, final = folder / "coming", folder / "final"
    path.write_bytes(bytes(3 * 2**20))
    pack = hashlib.sha256(path.read_bytes()).hexdigest()
    stream = Stream(path, loop.create_future(), loop.create_future())
    stream.count_as(Priority.BACKGROUND)
    classes = iter((Priority.BATCH, Priority.INTERACTIVE))
    seen: list[int] = []
    read, write_out = os.preadv, os.fsync

    def preadv(*arguments: Any) -> int:
        seen.append(io_priority())
        stream.count_as(next(classes, Priority.INTERACTIVE))
        return read(*arguments)

    def fsync(descriptor: int) -> None:
        seen.append(io_priority())
        write_out(descriptor)

    monkeypatch.setattr(os, "preadv", preadv)
    monkeypatch.setattr(os, "fsync", fsync)
    descriptor = os.open(path, os.O_RDWR)
    try:
        await asyncio.to_thread(_adopt, descriptor, path, final, pack, stream.hashing)
    finally:
        os.close(descriptor)
    assert seen == [IDLE, LOWEST, AS_NICE, AS_NICE, AS_NICE]
    assert final.exists()
    assert await asyncio.to_thread(io_priority) == AS_NICE
