"""The interpreter in reserve: who it becomes, what it gives up, and what happens without one."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from glowplug.core.events import StepReached
from glowplug.node.zygote import COMMAND
from tests.node.conftest import NodeUnderTest

SOURCE = """
import glowplug

app = glowplug.App("standby")

@app.function(libraries=["json"])
def one(text: str) -> str:
    return text

@app.function(libraries=["decimal"])
def two(text: str) -> str:
    return text
"""
_KEPT = (1 << 5) | (1 << 6) | (1 << 7)
"""CAP_KILL, CAP_SETGID, CAP_SETUID."""


def named(name: str) -> Iterator[int]:
    """Processes of this machine, below this test's own."""
    ours, parents = os.getpid(), {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "status").read_text()
            except OSError:
                continue
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            parents[int(entry.name)] = (int(fields["PPid"]), fields["Name"])
    for pid, (parent, found) in parents.items():
        while parent != ours and parent in parents:
            parent = parents[parent][0]
        if parent == ours and found == name[:15]:
            yield pid


async def one_named(name: str) -> int:
    async with asyncio.timeout(30):
        while not (found := list(named(name))):
            await asyncio.sleep(0.01)
    assert len(found) == 1
    return found[0]


def fields_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_the_next_environment_is_the_one_in_reserve(on_node: Callable[..., None], node_folder: Path) -> None:
    source = node_folder / "standby_app.py"
    source.write_text(SOURCE)

    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(source)
        for spec in (specs["one"], specs["two"]):
            waiting = await one_named("glowplug-standby")
            assert isinstance(await node.import_environment(spec), StepReached)
            assert fields_of(waiting)["Name"] == "glowplug-zygote"
            held = {
                name: int(fields_of(waiting)[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")
            }
            if fields_of(waiting)["Uid"].split()[0] != str(os.getuid()):
                assert all(value & ~_KEPT == 0 for value in held.values()), held
            assert fields_of(waiting)["NoNewPrivs"] == "1"
            assert await one_named("glowplug-standby") != waiting

    on_node(scenario)


def test_without_one_an_environment_begins_as_it_can(on_node: Callable[..., None], node_folder: Path) -> None:
    source = node_folder / "standby_app.py"
    source.write_text(SOURCE)

    async def scenario(node: NodeUnderTest) -> None:
        spec = (await node.specs(source))["one"]
        waiting = await one_named("glowplug-standby")
        handle = os.pidfd_open(waiting)
        os.kill(waiting, signal.SIGKILL)
        select.select([handle], [], [], 30)
        os.close(handle)
        assert isinstance(await node.import_environment(spec), StepReached)
        zygote = await one_named("glowplug-zygote")
        assert zygote != waiting
        assert COMMAND.encode() in Path(f"/proc/{zygote}/cmdline").read_bytes()

    on_node(scenario)
