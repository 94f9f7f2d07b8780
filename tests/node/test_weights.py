"""Weights on a node's disk: climbs that wait for them, and files that cannot be dropped from memory."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from glowplug.bundle.manifest import MANIFEST
from glowplug.core.commands import Climb, Descend, Target
from glowplug.core.events import Built, StepLost, StepReached
from glowplug.core.ids import CommandId
from glowplug.core.ladder import Step
from tests.node.conftest import NODE, NodeUnderTest

pytestmark = pytest.mark.e2e

PLAIN = """
import glowplug
app = glowplug.App("plain")

@app.function()
def answer() -> int:
    return 1
"""
FAR = """
import glowplug, torch
app = glowplug.App("far")

@app.model(libraries=["torch"])
class Net:
    def build(self):
        return torch.nn.Linear(4, 2)

    def example(self):
        return {"value": 1.0}

    @glowplug.endpoint
    def total(self, value: float) -> float:
        return float(self.model(torch.full((1, 4), value)).sum())
"""


def test_weights_that_cannot_be_dropped_are_let_go_all_the_same(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    source = node_folder / "plain_app.py"
    source.write_text(PLAIN)

    async def scenario(node: NodeUnderTest) -> None:
        spec = (await node.specs(source))["answer"]
        await node.import_environment(spec)
        await node.build(spec)
        manifest = node.store.described(spec.version)
        assert manifest is not None
        pack, told = "0" * 64, node.store.bundle_path(spec.version) / MANIFEST
        told.chmod(0o644)
        told.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, pack=pack)))
        folder = os.open(node.store.packs, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as no_file:
            # Which cannot be opened; by a short name, for a socket may have no long one.
            no_file.bind(f"/proc/self/fd/{folder}/{pack}.pack")
            assert isinstance(await node.descend("weights", spec.version, Step.LOCAL), StepLost)
        os.close(folder)

    on_node(scenario)


@pytest.mark.torch
def test_a_climb_that_is_given_up_and_asked_for_again_while_its_pack_comes(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    pytest.importorskip("torch", reason="needs the torch extra")
    source = node_folder / "far_app.py"
    source.write_text(FAR)

    async def scenario(node: NodeUnderTest) -> None:
        spec = (await node.specs(source))["net"]
        await node.import_environment(spec)
        built = await node.build(spec)
        assert isinstance(built, Built)
        node.store.pack_path(built.facts.pack).unlink()
        target = Target("version", NODE, spec.version)
        node.engine.submit(Climb(CommandId(1001), target, Step.STAGED, spec, built.facts))
        node.engine.submit(Descend(CommandId(1002), target, Step.IMPORTED, "test"))
        assert isinstance(await node.stage(spec, built.facts), StepReached)

    on_node(scenario, artifacts=str(node_folder / "artifacts"))
