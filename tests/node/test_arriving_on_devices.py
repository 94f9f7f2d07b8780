"""Loads to a device whose weights still come from the artifact store: copies follow what arrives."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from glowplug.core.commands import Climb, Target
from glowplug.core.devices import DeviceSetting
from glowplug.core.events import Built, CommandFailed, StepReached
from glowplug.core.ids import CommandId, DeviceId
from glowplug.core.ladder import Step
from glowplug.core.specs import BundleFacts, FunctionSpec
from glowplug.loader.arbiter import Priority
from glowplug.loader.devices.cuda import cards
from glowplug.loader.errors import LoadStopped
from glowplug.node.devices import NodeDevice, Residence
from glowplug.node.remote import RemoteClimbs
from glowplug.node.streams import Stream
from tests.node.conftest import NODE, NodeUnderTest

KINDS = {
    "cpu": DeviceSetting("it", "cpu", 0, 2**30),
    "virtual": DeviceSetting("it", "virtual", 0, 2**30, 1e9),
    "with a context": DeviceSetting("it", "virtual", 0, 2**30, 1e9, context_bytes=1000, context_s=0.01),
}
CARD = DeviceSetting("it", "cuda", 0, 4 * 2**30)
SOURCE = """
import glowplug, torch
app = glowplug.App("arriving")

@app.model(device="gpu", device_memory="1MB", libraries=["torch"])
class Net:
    def build(self):
        torch.manual_seed(3)
        return torch.nn.Sequential(*(torch.nn.Linear(512, 512) for _ in range(6)))

    def example(self):
        return {"value": 1.0}

    @glowplug.endpoint
    def answer(self, value: float) -> float:
        return float(self.model(torch.full((1, 512), value)).double().sum())
"""


class Copied(NodeDevice):
    """Remembers the bytes of its copies, in their order."""

    def __init__(self, setting: DeviceSetting) -> None:
        super().__init__("local", setting)
        self.copied: list[int] = []

    def copy(self, nbytes: int, reservation: Any) -> Any:
        self.copied.append(nbytes)
        return super().copy(nbytes, reservation)


def coming(path: Path) -> Stream:
    """Of two units, of which the first has come."""
    loop = asyncio.get_running_loop()
    stream = Stream(path, loop.create_future(), loop.create_future())
    stream.shares = [0.25, 0.75]
    stream.arrived(0)
    return stream


def test_a_virtual_copy_of_a_unit_begins_when_the_unit_is_here(tmp_path: Path) -> None:
    async def scenario() -> None:
        stream, device = coming(tmp_path), Copied(KINDS["virtual"])
        residence = Residence(device, device.ledger.reserve(4000), 4000, stream=stream)
        assert device.copied == [1000]
        ready = asyncio.create_task(residence.arrived(2.0))
        stream.arrived(1)
        assert device.copied == [1000, 3000]
        await asyncio.sleep(0)
        assert not ready.done(), "nobody runs there before all is here"
        stream.here.set_result(None)
        assert await ready == 2.0, "what was waited for the store is no cost of the load"

    asyncio.run(scenario())


def test_who_has_to_open_a_context_copies_afterwards(tmp_path: Path) -> None:
    async def scenario() -> None:
        stream, device = coming(tmp_path), Copied(KINDS["with a context"])
        residence = Residence(device, device.ledger.reserve(4000), 4000, has_context=False, stream=stream)
        stream.arrived(1)
        stream.here.set_result(None)
        assert device.copied == []
        assert await residence.arrived(2.0) == pytest.approx(2.0 + 4000 / 1e9)
        assert device.copied == [4000]

    asyncio.run(scenario())


def test_nothing_is_copied_for_who_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        stream, device = coming(tmp_path), Copied(KINDS["virtual"])
        device.leave(Residence(device, device.ledger.reserve(4000), 4000, stream=stream))
        stream.arrived(1)
        assert device.copied == [1000]
        assert device.is_empty

    asyncio.run(scenario())


def test_a_load_whose_weights_stop_coming_is_told_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        stream, device = coming(tmp_path), Copied(KINDS["virtual"])
        residence = Residence(device, device.ledger.reserve(4000), 4000, stream=stream)
        stream.here.set_exception(LoadStopped("the bucket is gone"))
        with pytest.raises(LoadStopped, match="the bucket is gone"):
            await residence.arrived(2.0)

    asyncio.run(scenario())


def test_who_waits_for_a_climb_that_has_begun_hurries_what_still_comes(tmp_path: Path) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        path = tmp_path / "coming"
        path.write_bytes(b"weights")
        stream = coming(path)
        stream.opened.set_result(None)
        hurried: list[tuple[str, Priority]] = []
        tasks: list[asyncio.Task[None]] = []

        class Agent:
            class climbs:  # noqa: N801
                parent_of = staticmethod(lambda command: object())

                @staticmethod
                def fork(command: Any, parent: Any, env: Any, data: Any, stream: Any, **more: Any) -> None:
                    assert stream is not None
                    assert more["arriving"]

            @staticmethod
            def spawn(work: Any) -> None:
                tasks.append(loop.create_task(work))

        class Streams:
            fetch = staticmethod(lambda pack, priority: stream)
            hurry = staticmethod(lambda pack, priority: hurried.append((pack, priority)))

        remote = RemoteClimbs(Agent)  # type: ignore[arg-type]
        remote._streams = Streams  # type: ignore[assignment]
        command: Any = msgspec.structs.replace(
            Climb(CommandId(7), Target("instance", NODE, "1"), Step.PARKED, None, device=DeviceId("d")),  # type: ignore[arg-type]
            facts=msgspec.convert({"pack": "p"}, Named),
        )
        remote.start(command, {}, [])
        await asyncio.gather(*tasks)
        remote.promote(CommandId(7), 3)
        assert hurried == [("p", Priority.INTERACTIVE)]
        stream.whole.set_result(None)
        await asyncio.sleep(0)
        remote.promote(CommandId(7), 3)
        assert len(hurried) == 1, "all of it is here"
        stream.end(None)

    asyncio.run(scenario())


class Named(msgspec.Struct):
    pack: str


async def built(node: NodeUnderTest) -> tuple[FunctionSpec, BundleFacts, Path]:
    source = node.folder / "arriving.py"
    source.write_text(SOURCE)
    spec = (await node.specs(source))["net"]
    await node.import_environment(spec)
    built = await node.build(spec)
    assert isinstance(built, Built), built
    facts = built.facts
    (pack,) = (node.folder / "state" / "packs").glob("*.pack")
    return spec, facts, pack


async def load(node: NodeUnderTest, spec: FunctionSpec, facts: BundleFacts, instance: str) -> Any:
    target, device = Target("instance", NODE, instance), DeviceId("local/it")
    return await node.do(
        lambda n: Climb(n, target, Step.PARKED, spec, facts, device=device, device_bytes=2**20)
    )


async def ask(node: NodeUnderTest, instance: int) -> Any:
    reply = await node.call(instance, b'{"value": 1.0}')
    assert reply.error is None, reply.error
    return msgspec.json.decode(bytes(reply.body))


@pytest.mark.e2e
@pytest.mark.torch
@pytest.mark.parametrize(
    "kind",
    [
        *KINDS,
        pytest.param(
            "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not cards(), reason="needs a CUDA device")]
        ),
    ],
)
def test_a_load_from_the_artifact_store_answers_as_one_from_the_disk(
    on_node: Callable[..., None], node_folder: Path, shelf: Path, kind: str
) -> None:
    pytest.importorskip("torch", reason="needs the torch extra")

    async def scenario(node: NodeUnderTest) -> None:
        spec, facts, pack = await built(node)
        assert isinstance(await load(node, spec, facts, "1"), StepReached)
        expected = await ask(node, 1)
        kept = node_folder / "kept"
        shutil.move(pack, kept)
        reached = await load(node, spec, facts, "2")
        assert isinstance(reached, StepReached), reached
        assert await ask(node, 2) == expected
        async with asyncio.timeout(60):
            while not pack.exists():
                await asyncio.sleep(0.01)
        assert pack.read_bytes() == kept.read_bytes()
        # Of what is not there nothing comes, and its room is free again.
        pack.unlink()
        (shelf / pack.name).unlink()
        failed = await load(node, spec, facts, "3")
        assert isinstance(failed, CommandFailed)
        assert failed.code == "weights"
        shutil.move(kept, pack)
        assert isinstance(await load(node, spec, facts, "4"), StepReached)
        assert await ask(node, 4) == expected

    on_node(scenario, devices=(KINDS.get(kind, CARD),), artifacts=str(shelf))
