"""What every Engine must do. Subclass EngineSuite in a test module and give it a harness."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from glowplug.control.engine import Engine
from glowplug.core.commands import Build, Climb, Command, Descend, Target
from glowplug.core.events import Built, CommandFailed, Event, StepLost, StepReached
from glowplug.core.ids import CommandId, NodeId
from glowplug.core.ladder import Step
from glowplug.core.specs import BundleFacts, FunctionSpec

E = TypeVar("E", bound=Event)
_TURNS = 1000
"""Of the event loop, in which what came from processes that have ended would be told."""


class EngineHarness(Protocol):
    """An engine that is ready for commands, and a function that it can build there.

    `engine.connect` is left to the suite. `settle` lets the engine work until `until()`; it raises
    TimeoutError when that does not come.
    """

    engine: Engine
    node: NodeId
    spec: FunctionSpec

    async def settle(self, until: Callable[[], bool]) -> None: ...


class _Session:
    def __init__(self, harness: EngineHarness) -> None:
        self.harness = harness
        self.events: list[Event] = []
        self._made = 0
        harness.engine.connect(self.events.append)

    def next_id(self) -> CommandId:
        self._made += 1
        return CommandId(self._made)

    async def outcome(self, command: Command, kind: type[E]) -> E:
        """Submits and waits for the event of `kind` with the command's id."""
        number = getattr(command, "id")  # noqa: B009
        self.harness.engine.submit(command)

        def found() -> list[E]:
            return [e for e in self.events if isinstance(e, kind) and getattr(e, "command", None) == number]

        await self.harness.settle(lambda: bool(found()))
        return found()[0]

    def park(self, target: Target, facts: BundleFacts) -> Climb:
        spec = self.harness.spec
        return Climb(self.next_id(), target, Step.PARKED, spec, facts, Step.IMPORTED, prime=True, priority=1)

    def descend(self, target: Target) -> Descend:
        return Descend(self.next_id(), target, Step.STAGED, "asked for")

    async def build(self) -> Built:
        """With its environment up first, as the controller does it."""
        spec, node = self.harness.spec, self.harness.node
        environment = Target("environment", node, spec.environment_key)
        await self.outcome(Climb(self.next_id(), environment, Step.IMPORTED, spec), StepReached)
        return await self.outcome(Build(self.next_id(), node, spec), Built)


class EngineSuite:
    """Inherit, and implement `harness`."""

    def harness(self) -> AbstractAsyncContextManager[EngineHarness]:
        raise NotImplementedError

    def test_an_environment_climbs_then_a_build_ends_in_facts(self) -> None:
        async def story() -> None:
            async with self.harness() as harness:
                session = _Session(harness)
                built = await session.build()
                assert built.version == harness.spec.version
                assert built.node == harness.node

        asyncio.run(story())

    def test_an_instance_climbs_and_descends(self) -> None:
        async def story() -> None:
            async with self.harness() as harness:
                session = _Session(harness)
                facts = (await session.build()).facts
                target = Target("instance", harness.node, "1")
                climb = Climb(
                    session.next_id(), target, Step.PARKED, harness.spec, facts, Step.IMPORTED, True, 1
                )
                reached = await session.outcome(climb, StepReached)
                assert reached.target == target
                assert reached.step == Step.PARKED
                assert reached.held_bytes >= 0
                lost = await session.outcome(session.descend(target), StepLost)
                assert lost.target == target

        asyncio.run(story())

    def test_descending_what_is_not_there_ends_in_step_lost(self) -> None:
        async def story() -> None:
            async with self.harness() as harness:
                session = _Session(harness)
                target = Target("instance", harness.node, "77")
                lost = await session.outcome(session.descend(target), StepLost)
                assert lost.target == target

        asyncio.run(story())

    def test_a_descent_gives_up_the_climb_under_way(self) -> None:
        async def story() -> None:
            async with self.harness() as harness:
                session = _Session(harness)
                facts = (await session.build()).facts
                target = Target("instance", harness.node, "1")
                climb = Climb(
                    session.next_id(), target, Step.PARKED, harness.spec, facts, Step.IMPORTED, True, 1
                )
                harness.engine.submit(climb)
                lost = await session.outcome(session.descend(target), StepLost)
                after = session.events[session.events.index(lost) + 1 :]
                assert not [e for e in after if isinstance(e, (StepReached, CommandFailed))]

        asyncio.run(story())

    def test_nothing_is_emitted_after_close(self) -> None:
        async def story() -> None:
            async with self.harness() as harness:
                session = _Session(harness)
                facts = (await session.build()).facts
                target = Target("instance", harness.node, "1")
                await session.outcome(session.park(target, facts), StepReached)
                # One worker whose end could be told, and a climb whose failure could be.
                harness.engine.submit(session.park(Target("instance", harness.node, "2"), facts))
                await harness.engine.close()
                count = len(session.events)
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
                assert len(session.events) == count

        asyncio.run(story())
