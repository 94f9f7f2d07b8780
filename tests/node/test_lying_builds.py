"""Builds and probes whose function's code tells the agent what is not so, over the socket that they find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.core.events import CommandFailed, StepReached

from .conftest import NodeUnderTest

pytestmark = pytest.mark.e2e

SOURCE = """
import os
import socket
import stat
import glowplug
from glowplug.bundle.builder import BuildResult
from glowplug.node import wire
from glowplug.node.messages import BuildDone, ProbeDone
app = glowplug.App("lying")

def tell(role, message):
    with open("/proc/self/comm") as file:
        if not file.read().startswith(role):
            return
    for number in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                wire.send(socket.socket(fileno=number), message)
        except OSError:
            pass
    os._exit(0)

@app.model()
class Lighter:
    def setup(self):
        tell("probe", ProbeDone(1, False, 0, 0, -(10**15)))

    @glowplug.endpoint
    def answer(self) -> int:
        return 1

@app.model()
class Talker:
    def setup(self):
        tell("build", BuildDone(BuildResult("code", False, "x" * (wire.MAX_MESSAGE_BYTES - 300))))

    @glowplug.endpoint
    def answer(self) -> int:
        return 1
"""


@pytest.mark.parametrize(
    ("name", "told"), [("lighter", "less than nothing"), ("talker", "too much of itself")]
)
def test_what_cannot_be_is_told(
    on_node: Callable[..., None], node_folder: Path, name: str, told: str
) -> None:
    source = node_folder / "lying_app.py"
    source.write_text(SOURCE)

    async def scenario(node: NodeUnderTest) -> None:
        spec = (await node.specs(source))[name]
        assert isinstance(await node.import_environment(spec), StepReached)
        outcome = await node.build(spec)
        assert isinstance(outcome, CommandFailed), outcome
        assert (outcome.code, outcome.permanent) == ("build_failed", True)
        assert told in outcome.message

    on_node(scenario)
