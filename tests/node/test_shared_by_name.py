"""What System V lets processes share by name: it outlives who made it, and whoever knows the name may have
it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from glowplug.core.events import StepReached
from glowplug.core.ladder import Step
from tests.node.conftest import NodeUnderTest

pytestmark = pytest.mark.e2e

SOURCE = """
import ctypes
import glowplug
app = glowplug.App("hoarding")

@app.function()
def hoard(key: int) -> list[int]:
    libc = ctypes.CDLL(None)
    return [libc.shmget(key, 1 << 20, 0o1666), libc.semget(key, 1, 0o1666), libc.msgget(key, 0o1666)]
"""
REMOVE = 0


def test_a_function_leaves_nothing_among_what_the_host_shares(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    source = node_folder / "hoarding_app.py"
    source.write_text(SOURCE)
    key = 1 + int.from_bytes(os.urandom(3))

    async def scenario(node: NodeUnderTest) -> None:
        if node.engine.isolation["own shared memory"].startswith("no"):
            pytest.skip("this host allows no namespace for it")
        spec = (await node.specs(source))["hoard"]
        await node.import_environment(spec)
        await node.build(spec)
        assert isinstance(await node.park(spec, 1, Step.IMPORTED), StepReached)
        reply = await node.call(1, msgspec.json.encode({"key": key}))
        assert reply.error is None
        libc = ctypes.CDLL(None)
        left = [libc.shmget(key, 0, 0), libc.semget(key, 0, 0), libc.msgget(key, 0)]
        for number, remove in zip(left, (libc.shmctl, libc.semctl, libc.msgctl), strict=True):
            if number >= 0:
                remove(number, REMOVE, REMOVE, None)
        assert left == [-1, -1, -1]

    on_node(scenario)
