"""A worker that climbs while its pack still comes."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from glowplug.core.commands import Target
from glowplug.core.ids import NodeId
from glowplug.node.remote import RemoteClimbs
from glowplug.node.streams import Stream


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
