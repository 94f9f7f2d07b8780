"""Processes that say what is not so of themselves, by the socket on which they report."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.core.commands import Climb, Target
from glowplug.core.devices import DeviceSetting, Fault
from glowplug.core.events import CommandFailed, StepReached
from glowplug.core.ids import DeviceId
from glowplug.core.ladder import Step
from tests.node.conftest import NODE, NodeUnderTest
from tests.node.test_devices import until

pytestmark = pytest.mark.e2e

LIES = """
import os, random, socket, stat
import msgspec
from glowplug.node.messages import Failed, WorkerReady

def say(message):
    '''On every socket for messages that this process has.'''
    words = msgspec.msgpack.encode(message)
    for number in range(256):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as sock:
                    if sock.type == socket.SOCK_SEQPACKET:
                        sock.send(words)
        except OSError:
            pass

def lie():
    say(WorkerReady({}, 10**15, 10**15))

def complain():
    say(Failed("function_failed", "x" * 131_000))
    os._exit(1)

seed = random.seed

def start(*values):
    seed(*values)
    if os.path.basename(os.getcwd()).startswith("context"):
        print("I lie", flush=True)  # before it, for whoever is caught says nothing more
        lie()

random.seed = start
"""
SOURCE = """
import os
import glowplug
import lies

app = glowplug.App("claims")

if "GLOWPLUG_FUNCTION" in os.environ:
    lies.SAY()

@app.function(libraries=["lies"])
def modest() -> int:
    return 1

@app.function(libraries=["lies"], device="gpu", device_memory=100)
def there() -> int:
    return 2
"""
CARD = DeviceId("local/virtual0")
DEVICE = DeviceSetting("virtual0", "virtual", 0, 2000, 1000.0, context_bytes=300, context_s=0.05)


@pytest.fixture(autouse=True)
def library(node_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = node_folder / "library"
    folder.mkdir()
    (folder / "lies.py").write_text(LIES)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


async def climbed(node: NodeUnderTest, how: str, name: str = "modest") -> object:
    """The outcome for a worker whose module does what `how` names, in `LIES`, while it is imported."""
    source = node.folder / "claims_app.py"
    source.write_text(SOURCE.replace("SAY", how))
    spec = (await node.specs(source))[name]
    await node.import_environment(spec)
    await node.build(spec)
    return await node.park(spec, 1, Step.IMPORTED)


def test_no_worker_is_believed_to_hold_more_than_it_does(on_node: Callable[..., None]) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        reached = await climbed(node, "lie")
        assert isinstance(reached, StepReached)
        assert 0 < reached.held_bytes < 2**30

    on_node(scenario)


def test_who_complains_at_length_is_heard(on_node: Callable[..., None]) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        failed = await climbed(node, "complain")
        assert isinstance(failed, CommandFailed)
        assert (failed.code, failed.permanent) == ("function_failed", True)
        assert failed.message.startswith("xxx")

    on_node(scenario)


def test_a_context_that_says_it_is_a_worker_is_in_nobodys_way(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    source = node_folder / "claims_app.py"
    source.write_text(SOURCE.replace("SAY", "lie"))

    async def scenario(node: NodeUnderTest) -> None:
        spec = (await node.specs(source))["there"]
        await node.import_environment(spec)
        await node.build(spec)

        async def load(instance: str) -> object:
            target = Target("instance", NODE, instance)
            return await node.do(lambda n: Climb(n, target, Step.PARKED, spec, device=CARD, device_bytes=400))

        assert isinstance(await load("1"), StepReached)
        await until(lambda: any("I lie" in said.lines for said in node.said))
        await node.engine.disturb(CARD, Fault("loads"))
        failed = await load("2")
        assert isinstance(failed, CommandFailed)
        assert failed.code == "device_failed"
        assert isinstance(await load("3"), StepReached)
        first = Target("instance", NODE, "1")
        assert len([e for e in node.events if isinstance(e, StepReached) and e.target == first]) == 1

    on_node(scenario, devices=(DEVICE,))
