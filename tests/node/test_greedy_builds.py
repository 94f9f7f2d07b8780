"""Builds that take more than they may, of the disk and of memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.core.events import Built, CommandFailed, StepReached

from .conftest import NodeUnderTest

pytestmark = pytest.mark.e2e

SOURCE = """
import os
import tempfile
import time
import glowplug
app = glowplug.App("greedy")

@app.model()
class Disk:
    def setup(self):
        for number in range(100):
            with open(f"file{number}", "wb") as file:
                file.write(os.urandom(1 << 20))
        time.sleep(1000)

    @glowplug.endpoint
    def answer(self) -> int:
        return 1

@app.model()
class Memory:
    def setup(self):
        self.held = [os.urandom(1 << 20) for _ in range(2000)]

    @glowplug.endpoint
    def answer(self) -> int:
        return 1

@app.model()
class Hidden:
    def setup(self):
        self.file = tempfile.TemporaryFile()
        for number in range(100):
            self.file.write(os.urandom(1 << 20))
        time.sleep(1000)

    @glowplug.endpoint
    def answer(self) -> int:
        return 1

@app.model()
class Deep:
    def setup(self):
        for _ in range(1100):
            os.mkdir("d")
            os.chdir("d")

    @glowplug.endpoint
    def answer(self) -> int:
        return 1

@app.function()
def modest() -> int:
    return 1
"""


def test_builds_have_limits(on_node: Callable[..., None], node_folder: Path) -> None:
    source = node_folder / "greedy_app.py"
    source.write_text(SOURCE)

    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(source)
        assert isinstance(await node.import_environment(specs["modest"]), StepReached)
        greedy = await node.build(specs["disk"])
        assert isinstance(greedy, CommandFailed)
        assert (greedy.code, greedy.permanent) == ("no_space", True), greedy
        assert "more than 20.0 MB" in greedy.message
        if node.engine.isolation["own user"].startswith("yes"):
            greedy = await node.build(specs["hidden"])
            assert isinstance(greedy, CommandFailed)
            assert "more than 20.0 MB" in greedy.message
        if node.engine.isolation["limits"].startswith("yes"):
            greedy = await node.build(specs["memory"])
            assert isinstance(greedy, CommandFailed)
            assert (greedy.code, greedy.permanent) == ("build_failed", True), greedy
            assert "more memory than functions may have here" in greedy.message
        assert isinstance(await node.build(specs["modest"]), Built)
        left = list((node_folder / "run" / "scratch").glob("e*/b*"))
        assert len(left) <= 1, "those before the last are gone, for the disk's thread goes by turns"

    on_node(scenario, build_bytes=20 * 10**6, budget_bytes=600 * 10**6)


def test_a_build_that_nests_folders_without_end_leaves_none(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    """Nor does it keep the next agent from starting."""
    source = node_folder / "greedy_app.py"
    source.write_text(SOURCE)
    scratch = node_folder / "run" / "scratch"

    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(source)
        assert isinstance(await node.import_environment(specs["deep"]), StepReached)
        await node.build(specs["deep"])
        assert isinstance(await node.build(specs["modest"]), Built)
        assert len(list(scratch.glob("e*/b*"))) <= 1, "the disk's thread goes by turns"

    async def again(node: NodeUnderTest) -> None:
        assert list(scratch.glob("e*")) == []

    on_node(scenario)
    on_node(again)
