"""A build that leaves what is no pack: it would leave the same again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.core.events import CommandFailed, StepReached

from .conftest import NodeUnderTest

pytestmark = pytest.mark.e2e

SOURCE = """
import os
import glowplug
import torch
app = glowplug.App("bad_packs")

def spoil_with(spoil):
    from glowplug.node import roles
    send = roles.wire.send

    def spoil_and_send(*message):
        if os.path.exists("pack"):
            spoil()
        send(*message)

    roles.wire.send = spoil_and_send

class Packed:
    def build(self):
        return torch.nn.Linear(4, 4)

    @glowplug.endpoint
    def answer(self) -> int:
        return 1

@app.model(libraries=["torch"])
class Words(Packed):
    def setup(self):
        spoil_with(lambda: open("pack", "w").write("no pack"))

@app.model(libraries=["torch"])
class Short(Packed):
    def setup(self):
        spoil_with(lambda: os.truncate("pack", os.path.getsize("pack") // 2))

@app.model(libraries=["torch"])
class Missing(Packed):
    def setup(self):
        spoil_with(lambda: os.unlink("pack"))
"""


def test_it_is_not_tried_again(on_node: Callable[..., None], node_folder: Path) -> None:
    source = node_folder / "bad_packs_app.py"
    source.write_text(SOURCE)

    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(source)
        assert isinstance(await node.import_environment(specs["words"]), StepReached)
        for name, said in (("words", "is not a Glowplug pack"), ("short", "bytes"), ("missing", "no file")):
            failed = await node.build(specs[name])
            assert isinstance(failed, CommandFailed), failed
            assert (failed.code, failed.permanent) == ("build_failed", True), failed
            assert said in failed.message

    on_node(scenario)
