"""What a function, or the code of packages that it requires, finds of others: real processes on one node."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from glowplug.core.events import StepReached
from glowplug.core.ladder import Step
from glowplug.core.specs import FunctionSpec
from tests.wheels import make_wheel

from .conftest import NodeUnderTest
from .packages import from_shelf, required

pytestmark = pytest.mark.e2e

SOURCE = """
import os
import re
from pathlib import Path
import glowplug
app = glowplug.App("neighbours")

@app.function()
def keeps() -> int:
    return len(os.environ["TREASURE"])

@app.function()
def digs() -> list[str]:
    found = set()
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in Path("/proc/self/maps").read_text().splitlines():
            place, rights = line.split()[:2]
            if rights.startswith("rw"):
                start, end = (int(each, 16) for each in place.split("-"))
                try:
                    memory.seek(start)
                    found |= set(re.findall(rb"treasure-[0-9a-f]{32}", memory.read(end - start)))
                except OSError:
                    pass
    return sorted(each.decode() for each in found)
"""
EARLY = """
import os
import time
from pathlib import Path
import glowplug
app = glowplug.App("early")
early = 1 if "GLOWPLUG_INSPECT" in os.environ else os.fork()
if early == 0:
    os.closerange(0, 256)
    time.sleep(1000)

@app.function()
def groups() -> list[str]:
    return [Path(f"/proc/{pid}/cgroup").read_text() for pid in (os.getpid(), early)]
"""


async def parked(node: NodeUnderTest, spec: FunctionSpec, instance: int) -> None:
    assert isinstance(await node.park(spec, instance, Step.IMPORTED, prime=False), StepReached)


async def answer(node: NodeUnderTest, instance: int, request: int = 1) -> Any:
    reply = await node.call(instance, b"{}", request)
    assert reply.error is None, reply.error
    return msgspec.json.decode(bytes(reply.body))


def test_a_fork_of_the_same_zygote_has_no_secret_of_another_in_its_memory(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    source = node_folder / "neighbours_app.py"
    source.write_text(SOURCE)
    env = {"TREASURE": f"treasure-{secrets.token_hex(16)}"}

    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(source)
        await node.import_environment(specs["keeps"])
        for instance, name in enumerate(("keeps", "digs"), 1):
            await node.build(specs[name])
            await parked(node, specs[name], instance)
            assert await answer(node, instance) == (41 if name == "keeps" else [])
            env.clear()  # that was the keeper's

    on_node(scenario, env=env)


def test_whom_a_process_forked_before_it_was_moved_is_in_its_group_too(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    """And not among those of the environment, who may hold what the node may."""
    source = node_folder / "early_app.py"
    source.write_text(EARLY)

    async def scenario(node: NodeUnderTest) -> None:
        words = node.engine.isolation
        if words["limits"].startswith("no") or not words["own user"].startswith("yes"):
            pytest.skip("this host allows no groups, or no users")
        spec = (await node.specs(source))["groups"]
        await node.import_environment(spec)
        await node.build(spec)
        await parked(node, spec, 1)
        own, early, request = "", "unlike", 0
        async with asyncio.timeout(60):
            while own != early or "-s" not in own:
                request += 1
                own, early = await answer(node, 1, request)

    on_node(scenario)


def test_code_of_packages_does_not_see_whose_bundles_and_weights_are_here(
    on_node: Callable[..., None], shelf: Path, node_folder: Path
) -> None:
    """It runs in a zygote that may read all of them, so that its forks may."""
    looks = f"""
import os
for name in ("bundles", "packs", "uploads"):
    try:
        print(name, os.listdir(os.path.join({str(node_folder / "state")!r}, name)), flush=True)
    except PermissionError:
        print(name, "are not shown", flush=True)
"""
    make_wheel(shelf, "tiny", "1.0", looks)

    async def scenario(node: NodeUnderTest) -> None:
        if not node.engine.isolation["own user"].startswith("yes"):
            pytest.skip("without root functions share the server's user")
        spec = await required(node, *from_shelf(shelf, "tiny"), libraries=("tiny",))
        assert isinstance(await node.import_environment(spec), StepReached)
        names = ("bundles", "packs", "uploads")
        async with asyncio.timeout(60):
            while (
                len(lines := [line for said in node.said for line in said.lines if line.startswith(names)])
                < 3
            ):
                await asyncio.sleep(0.01)
        assert lines == [f"{name} are not shown" for name in names]

    on_node(scenario)
