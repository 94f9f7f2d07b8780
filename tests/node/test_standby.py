"""The interpreter in reserve: who it becomes, what it gives up, and what happens without one."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from glowplug.bench.systems.processes import children, command_line, descendants
from glowplug.bench.systems.processes import named as named_among
from glowplug.core.events import StepReached
from glowplug.node.zygote import COMMAND
from tests.node.conftest import WAIT_S, NodeUnderTest

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
OneNamed = Callable[[str], Awaitable[int]]
_KEPT = (1 << 5) | (1 << 6) | (1 << 7)
"""CAP_KILL, CAP_SETGID, CAP_SETUID."""


@pytest.fixture
def one_named() -> OneNamed:
    """Waits for the process of that name which this test's node has started. Others that the tests before
    it have started (a server for many of them, with an agent and processes of the same names) do not count.
    """
    before = set(children(os.getpid()))

    async def find(name: str) -> int:
        async with asyncio.timeout(WAIT_S):
            while True:
                ours = [pid for pid in children(os.getpid()) if pid not in before]
                if found := named_among(name, ours + [below for pid in ours for below in descendants(pid)]):
                    (pid,) = found
                    return pid
                await asyncio.sleep(0.01)

    return find


def fields_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_the_next_environment_is_the_one_in_reserve(
    on_node: Callable[..., None], node_folder: Path, one_named: OneNamed
) -> None:
    source = node_folder / "standby_app.py"
    source.write_text(SOURCE)

    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(source)
        for spec in (specs["one"], specs["two"]):
            waiting = await one_named("glowplug-standby")
            assert isinstance(await node.import_environment(spec), StepReached)
            assert fields_of(waiting)["Name"] == "glowplug-zygote"
            libraries = list(spec.declaration.libraries)
            assert command_line(waiting)[2] == COMMAND
            assert command_line(waiting)[5:] == libraries
            held = {
                name: int(fields_of(waiting)[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")
            }
            if fields_of(waiting)["Uid"].split()[0] != str(os.getuid()):
                assert all(value & ~_KEPT == 0 for value in held.values()), held
            assert fields_of(waiting)["NoNewPrivs"] == "1"
            assert await one_named("glowplug-standby") != waiting

    on_node(scenario)


def test_without_one_an_environment_begins_as_it_can(
    on_node: Callable[..., None], node_folder: Path, one_named: OneNamed
) -> None:
    source = node_folder / "standby_app.py"
    source.write_text(SOURCE)

    async def scenario(node: NodeUnderTest) -> None:
        spec = (await node.specs(source))["one"]
        waiting = await one_named("glowplug-standby")
        handle = os.pidfd_open(waiting)
        os.kill(waiting, signal.SIGKILL)
        assert select.select([handle], [], [], WAIT_S)[0]
        os.close(handle)
        assert isinstance(await node.import_environment(spec), StepReached)
        zygote = await one_named("glowplug-zygote")
        assert zygote != waiting
        assert COMMAND in command_line(zygote)

    on_node(scenario)
