"""The server looks at its machine's memory, and its node holds less for as long as others need some."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from glowplug.control.status import node_statuses
from glowplug.core.commands import Descend
from glowplug.node.machine_memory import MachineMemory
from glowplug.server.pressure import PressureWatch
from tests.control.world import World, spec

TOTAL_BYTES = 20_000
PLENTY = MachineMemory(TOTAL_BYTES, 15_000)
LEAST_BYTES = 200


def watched(world: World) -> PressureWatch:
    return PressureWatch(
        Path("/nowhere"),
        LEAST_BYTES,
        lambda: node_statuses(world.state),
        world.post,
        lambda: world.clock.now_s,
    )


def test_what_is_idle_goes_and_the_node_says_so() -> None:
    world = World()
    watch = watched(world)
    world.parked(spec("f"))
    world.parked(spec("g"))
    watch.look(PLENTY)
    (node,) = node_statuses(world.state)
    assert node.budget_bytes == node.granted_bytes == 10_000
    assert node.cached_bytes == 1000
    with capture_logs() as logs:
        watch.look(MachineMemory(TOTAL_BYTES, 900))
    (pressed,) = node_statuses(world.state)
    margin_bytes = TOTAL_BYTES // 20
    assert pressed.budget_bytes == node.reserved_bytes - node.cached_bytes + 900 - margin_bytes
    assert [entry["event"] for entry in logs] == ["others leave less memory"]
    world.engine.answer_all()
    (pressed,) = node_statuses(world.state)
    assert pressed.reserved_bytes <= pressed.budget_bytes
    assert any(isinstance(command, Descend) and command.why == "evicted" for command in world.commands)


def test_it_may_hold_all_again_when_they_have_gone() -> None:
    world = World()
    watch = watched(world)
    watch.look(MachineMemory(TOTAL_BYTES, 900))
    for _ in range(11):
        assert node_statuses(world.state)[0].budget_bytes == LEAST_BYTES
        watch.look(PLENTY)
        world.advance(1.0)
    assert node_statuses(world.state)[0].budget_bytes == 10_000


def test_a_node_that_joins_again_is_looked_at_anew() -> None:
    world = World()
    watch = watched(world)
    watch.look(MachineMemory(TOTAL_BYTES, 900))
    joined = world.events[0][1]
    world.lose_node()
    watch.look(MachineMemory(TOTAL_BYTES, 900))
    world.post(joined)
    assert node_statuses(world.state)[0].budget_bytes == 10_000
    watch.look(MachineMemory(TOTAL_BYTES, 900))
    assert node_statuses(world.state)[0].budget_bytes == LEAST_BYTES


def test_a_machine_that_does_not_say_is_told_of_once(tmp_path: Path) -> None:
    world = World()
    watch = PressureWatch(tmp_path, LEAST_BYTES, list, world.post, lambda: 0.0)
    with capture_logs() as logs:
        assert watch._read() is None
        assert watch._read() is None
    assert len(logs) == 1
