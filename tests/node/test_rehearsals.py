"""What a process that waits in a context is told of those whom it may serve."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from glowplug.core.commands import Climb, Target
from glowplug.core.devices import DeviceSetting
from glowplug.core.events import Built, StepReached
from glowplug.core.ids import DeviceId
from glowplug.core.ladder import Step
from glowplug.core.specs import FunctionSpec
from tests.node.conftest import NODE, NodeUnderTest
from tests.node.test_devices import contexts, until

pytestmark = pytest.mark.e2e

LIBRARY = '''
"""Notes what a context process is told to load, before it has a function."""
import glowplug.loader.devices.virtual as virtual
from glowplug.loader.devices import kernels

heard = []
warm = virtual.VirtualDevice.warm


def listen(device, records=(), wanted=lambda: False):
    heard.append([kernels.replay([each], "cpu", lambda: False) for each in records])
    warm(device, records, wanted)


virtual.VirtualDevice.warm = listen
'''
SOURCE = """
import glowplug, torch
import listening

app = glowplug.App("rehearsed")

class Answers:
    def example(self):
        return {}

    @glowplug.endpoint
    def answer(self) -> float:
        return float(self.model(torch.zeros(1, 8)).sum())

    @glowplug.endpoint
    def heard(self) -> list:
        return listening.heard

@app.model(libraries=["torch", "listening"], device="gpu", device_memory=100)
class One(Answers):
    def build(self):
        return torch.nn.Linear(8, 4)

@app.model(libraries=["torch", "listening"], device="gpu", device_memory=100)
class Three(Answers):
    def build(self):
        return torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))

@app.model(libraries=["torch", "listening"])
class OnCores(Answers):
    def build(self):
        return torch.nn.Linear(8, 16)
"""
CARD = DeviceSetting("virtual0", "virtual", 0, 2000, 1e6, context_bytes=300, context_s=0.05)


@pytest.fixture(autouse=True)
def listening(node_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library, where functions can import it."""
    folder = node_folder / "library"
    folder.mkdir()
    (folder / "listening.py").write_text(LIBRARY)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


async def load(node: NodeUnderTest, spec: FunctionSpec, built: Built, instance: int) -> None:
    target = Target("instance", NODE, str(instance))
    reached = await node.do(
        lambda number: Climb(
            number,
            target,
            Step.PARKED,
            spec,
            built.facts,
            device=DeviceId("local/virtual0"),
            device_bytes=400,
        )
    )
    assert isinstance(reached, StepReached), reached


async def heard(node: NodeUnderTest, instance: int) -> list[list[int]]:
    """For each time that this worker was told of passes, how many calls each had."""
    reply = await node.call(instance, b"{}", endpoint="heard")
    assert reply.error is None, reply.error
    found: list[list[int]] = msgspec.json.decode(bytes(reply.body))
    return found


def test_it_loads_what_passes_on_its_device_loaded_and_hears_of_who_comes_nearer(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    pytest.importorskip("torch", reason="needs the torch extra")
    source = node_folder / "rehearsed_app.py"
    source.write_text(SOURCE)

    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(source)
        one, three, cores = specs["one"], specs["three"], specs["oncores"]
        await node.import_environment(one)
        built = {spec.function: await node.build(spec) for spec in (one, three, cores)}
        kept = {name: node.store.described(spec.version).kernels for name, spec in specs.items()}
        assert kept["one"]
        assert kept["three"]
        assert not kept["oncores"], "nobody will ask"

        await load(node, one, built[one.function], 1)
        assert await heard(node, 1) == [], "it opened its own context"
        await until(lambda: contexts(node))
        await load(node, one, built[one.function], 2)
        assert await heard(node, 2) == [[1]], "one product"

        await until(lambda: contexts(node))
        await node.stage(three, built[three.function].facts)
        await load(node, three, built[three.function], 3)
        assert await heard(node, 3) == [[1], [3]], "the second was told of while it waited"
        await until(lambda: contexts(node))
        await load(node, one, built[one.function], 4)
        assert await heard(node, 4) == [[3, 1]], "who came last comes first"

    on_node(scenario, devices=(CARD,))
