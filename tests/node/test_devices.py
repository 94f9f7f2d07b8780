"""Workers on devices: their room, the time of their loads, contexts, and faults. Real processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from glowplug.bench.systems.processes import command_name, descendants
from glowplug.core.commands import Climb, Target
from glowplug.core.devices import DeviceSetting, Fault
from glowplug.core.errors import InvalidArguments
from glowplug.core.events import (
    CommandFailed,
    DeviceJoined,
    DeviceLost,
    InstanceExited,
    NodeJoined,
    StepReached,
)
from glowplug.core.ids import DeviceId
from glowplug.core.ladder import Step
from glowplug.core.specs import FunctionSpec
from glowplug.loader.devices.cuda import cards
from glowplug.node.devices import NodeDevice, PacePage, read_pace
from tests.node.conftest import NODE, WAIT_S, NodeUnderTest

pytestmark = pytest.mark.e2e

SOURCE = """
import glowplug, os, threading
app = glowplug.App("on_devices")

@app.function(device="gpu", device_memory=100)
def where() -> list:
    return [os.getpid(), sorted(os.sched_getaffinity(0)), int(os.environ["OMP_NUM_THREADS"])]
"""
CARD = DeviceId("local/virtual0")
MEMORY = 100
"""Bytes that a load copies, as declared."""


def card(**more: Any) -> DeviceSetting:
    """Room for ten models, each of which takes a tenth of a second to come."""
    return msgspec.structs.replace(DeviceSetting("virtual0", "virtual", 0, 1000, 1000.0), **more)


async def prepared(node: NodeUnderTest) -> FunctionSpec:
    """Its environment is up and the function built."""
    source = node.folder / "on_devices.py"
    source.write_text(SOURCE)
    spec = (await node.specs(source))["where"]
    await node.import_environment(spec)
    await node.build(spec)
    return spec


async def load(
    node: NodeUnderTest, spec: FunctionSpec, instance: int, nbytes: int = MEMORY, device: str = CARD
) -> Any:
    target = Target("instance", NODE, str(instance))
    return await node.do(
        lambda number: Climb(number, target, Step.PARKED, spec, device=DeviceId(device), device_bytes=nbytes)
    )


async def ask(node: NodeUnderTest, instance: int) -> list[Any]:
    reply = await node.call(instance, b"{}")
    assert reply.error is None, reply.error
    found: list[Any] = msgspec.json.decode(bytes(reply.body))
    return found


def contexts(node: NodeUnderTest) -> set[int]:
    """The processes that wait in a context for a function."""
    return {pid for pid in descendants(node.engine.agent_pid) if command_name(pid) == "ready-context"}


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(WAIT_S):
        while not (found := condition()):
            await asyncio.sleep(0.005)
    return found


def test_the_controller_hears_how_many_may_compute_there() -> None:
    assert [NodeDevice("n", card(at_once=count)).spec.at_once for count in (1, 3)] == [1, 3]


def test_nobody_but_the_agent_says_how_fast_a_device_is() -> None:
    page = PacePage()
    page.set(3.0)
    assert read_pace(page.descriptor) == 3.0
    with pytest.raises(PermissionError), open(f"/proc/self/fd/{page.descriptor}", "r+b", 0) as mine:
        mine.write(bytes(8))
    with pytest.raises(PermissionError), open(f"/proc/self/fd/{page.descriptor}", "r+b", 0) as mine:
        mine.truncate(0)
    assert read_pace(page.descriptor) == 3.0
    page.close()


def test_room_loads_and_faults_of_a_virtual_device(on_node: Callable[..., None]) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        joined = await node.until(lambda event: isinstance(event, NodeJoined))
        assert [(each.device, each.capacity_bytes) for each in joined.spec.devices] == [(CARD, 1000)]
        spec = await prepared(node)
        first, second = await asyncio.gather(load(node, spec, 1), load(node, spec, 2))
        assert isinstance(first, StepReached)
        assert isinstance(second, StepReached)
        took_s = sorted((first.took_s, second.took_s))
        assert took_s[0] >= 0.1, "the copy's time"
        assert (await ask(node, 1))[2] == 1, "one thread computes"

        full = await load(node, spec, 3, 801)
        assert (full.code, full.permanent) == ("device_full", False)
        assert "800 of 1000 bytes free" in full.message
        await node.descend("instance", "2", Step.STAGED)
        assert isinstance(await load(node, spec, 4, 900), StepReached), "its room was free at once"
        await node.descend("instance", "4", Step.STAGED)

        await node.engine.disturb(CARD, Fault("loads"))
        failed = await load(node, spec, 5)
        assert isinstance(failed, CommandFailed)
        assert (failed.code, failed.permanent) == ("device_failed", False)
        assert isinstance(await load(node, spec, 6, 900), StepReached), "nothing of it was left"

        await node.engine.disturb(CARD, Fault("memory"))
        assert isinstance(await node.until(lambda event: isinstance(event, DeviceLost)), DeviceLost)
        for instance in (1, 6):
            await node.exited(instance)
        order = [type(event) for event in node.events if isinstance(event, (DeviceLost, DeviceJoined))]
        assert order == [DeviceLost, DeviceJoined]
        lost = next(n for n, event in enumerate(node.events) if isinstance(event, DeviceLost))
        assert not any(isinstance(event, InstanceExited) for event in node.events[:lost])

        await node.engine.disturb(CARD, Fault("gone"))
        gone = await load(node, spec, 7)
        assert (gone.code, gone.message) == ("device_failed", "device local/virtual0: it is gone")
        with pytest.raises(InvalidArguments, match="restore it first"):
            await node.engine.disturb(CARD, Fault("slow"))
        await node.engine.disturb(CARD, Fault("none"))
        assert isinstance(await load(node, spec, 8, 1000), StepReached)
        with pytest.raises(InvalidArguments, match="there is no device local/other here"):
            await node.engine.disturb(DeviceId("local/other"), Fault("gone"))

    on_node(scenario, devices=(card(),))


def test_a_device_that_is_lost_and_restored_at_once_is_back_when_it_is_empty(
    on_node: Callable[..., None],
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        spec = await prepared(node)
        assert isinstance(await load(node, spec, 1, 900), StepReached)
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(
                *(node.engine.disturb(CARD, Fault(harm)) for harm in ("gone", "none", "none"))  # type: ignore[arg-type]
            )
        order = [e for e in node.events if isinstance(e, (DeviceLost, DeviceJoined, InstanceExited))]
        assert [type(event) for event in order] == [DeviceLost, InstanceExited, DeviceJoined]
        assert isinstance(await load(node, spec, 2, 1000), StepReached)

    on_node(scenario, devices=(card(),))


def test_copies_take_turns_and_a_slow_device_takes_longer(on_node: Callable[..., None]) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        spec = await prepared(node)
        assert isinstance(await load(node, spec, 1), StepReached)
        reply = await node.call(1, b"{}")
        assert reply.phases["compute"] >= 0.02
        await node.engine.disturb(CARD, Fault("slow", factor=5.0))
        reply = await node.call(1, b"{}", 2)
        assert reply.phases["compute"] >= 0.1, "what lies there is slower too"
        slow = await load(node, spec, 2)
        assert slow.took_s >= 0.5
        await node.engine.disturb(CARD, Fault("none"))
        async with asyncio.timeout(WAIT_S):
            number = 3
            while (await load(node, spec, number)).took_s >= 0.5:  # this machine may be slow as well
                await node.descend("instance", str(number), Step.STAGED)
                number += 1

    on_node(scenario, devices=(card(run_s=0.02),))


def test_a_context_is_taken_by_one_function_and_ends_with_it(on_node: Callable[..., None]) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        joined = await node.until(lambda event: isinstance(event, NodeJoined))
        (device,) = joined.spec.devices
        assert (device.capacity_bytes, device.context_bytes) == (700, 300), "one is kept ready"
        spec = await prepared(node)
        cold = await load(node, spec, 1, 300 + MEMORY)
        assert cold.took_s >= 0.3, "a context, and then the copy"
        (ready,) = await until(lambda: contexts(node))
        before = await ask(node, 1)
        warm = await load(node, spec, 2, 300)
        assert isinstance(warm, StepReached), "a context that waits is in nobody's way"
        taken = await ask(node, 2)
        assert command_name(ready) == "worker:where.de"
        assert taken[0] != before[0]
        # Another waits already, in the room that was kept for it.
        (following,) = await until(lambda: contexts(node) - {ready})
        await node.descend("instance", "2", Step.STAGED)
        await until(lambda: command_name(ready) == "")  # it ends with its function, and is reaped
        await node.engine.disturb(CARD, Fault("memory"))
        await until(lambda: command_name(following) == "")
        assert isinstance(await load(node, spec, 3, 1000), StepReached), "its room is free"

    on_node(scenario, devices=(card(context_bytes=300, context_s=0.2),))


def test_a_climb_without_room_leaves_the_context_that_waits(on_node: Callable[..., None]) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        spec = await prepared(node)
        await load(node, spec, 1, 300 + MEMORY)
        (ready,) = await until(lambda: contexts(node))
        assert (await load(node, spec, 2, 1001)).code == "device_full"
        assert contexts(node) == {ready}
        assert isinstance(await load(node, spec, 3, 300 + MEMORY), StepReached)
        assert command_name(ready) == "worker:where.de"

    on_node(scenario, devices=(card(context_bytes=300, context_s=0.05),))


def test_a_shared_context_is_paid_for_once(on_node: Callable[..., None]) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        spec = await prepared(node)
        first = await load(node, spec, 1, 600)
        assert first.took_s >= 0.3
        assert isinstance(await load(node, spec, 2, 600), StepReached), "300 of its own, and the same context"
        assert (await load(node, spec, 3, 401)).code == "device_full"
        # No number is given twice: the refused one may still be on its way out.
        assert isinstance(await load(node, spec, 4, 400), StepReached)
        for instance in ("1", "2", "4"):
            await node.descend("instance", instance, Step.STAGED)
        again = await load(node, spec, 5, 1000)
        assert again.took_s >= 0.3, "with the last of them it had gone"
        assert contexts(node) == set()

    on_node(scenario, devices=(card(context_bytes=300, context_s=0.2, shared=True),))


def test_a_worker_keeps_to_the_cores_of_its_device(on_node: Callable[..., None]) -> None:
    core = min(os.sched_getaffinity(0))

    async def scenario(node: NodeUnderTest) -> None:
        spec = await prepared(node)
        reached = await load(node, spec, 1, 50, "local/cpu0")
        assert isinstance(reached, StepReached)
        _, cores, threads = await ask(node, 1)
        assert (cores, threads) == ([core], 1)
        assert (await load(node, spec, 2, 51, "local/cpu0")).code == "device_full"
        with pytest.raises(InvalidArguments, match="no virtual device"):
            await node.engine.disturb(DeviceId("local/cpu0"), Fault("slow"))

    on_node(scenario, devices=(DeviceSetting("cpu0", "cpu", 0, 100, cores=(core,)),))


@pytest.mark.gpu
def test_on_a_card_a_model_computes_where_its_weights_were_brought(on_node: Callable[..., None]) -> None:
    if not cards():
        pytest.skip("needs a CUDA device")
    source = """
import glowplug, torch
app = glowplug.App("on_a_card")

@app.model(device="gpu", device_memory="1GB", libraries=["torch"])
class Sum:
    def build(self):
        return torch.nn.Linear(64, 64)

    def example(self):
        return {"value": 1.0}

    @glowplug.endpoint
    def where(self, value: float) -> list:
        result = self.model(torch.full((1, 64), value))
        return [str(result.device), bool(torch.isfinite(result).all())]
"""

    async def scenario(node: NodeUnderTest) -> None:
        path = node.folder / "on_a_card.py"
        path.write_text(source)
        spec = (await node.specs(path))["sum"]
        await node.import_environment(spec)
        built = await node.build(spec)

        async def park(instance: str) -> None:
            target, card = Target("instance", NODE, instance), DeviceId("local/cuda0")
            reached = await node.do(
                lambda n: Climb(n, target, Step.PARKED, spec, built.facts, device=card, device_bytes=2**30)
            )
            assert isinstance(reached, StepReached)

        await park("1")
        reply = await node.call(1, b'{"value": 1.0}')
        assert msgspec.json.decode(bytes(reply.body)) == ["cuda:0", True]
        # The next one takes the context that waits, with cuBLAS and cuDNN in it.
        (ready,) = await until(lambda: contexts(node))
        await park("2")
        assert command_name(ready).startswith("worker:sum")
        reply = await node.call(2, b'{"value": 1.0}')
        assert msgspec.json.decode(bytes(reply.body)) == ["cuda:0", True]

    on_node(scenario, devices=(DeviceSetting("cuda0", "cuda", 0, 4 * 2**30),))
