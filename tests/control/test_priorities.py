"""Classes: who is served, who climbs, who is refused and what is evicted first."""

from __future__ import annotations

from glowplug.core.commands import Build, Climb, Promote, Reject
from glowplug.core.events import Deployed, NodeJoined
from glowplug.core.ids import FunctionId
from glowplug.core.ladder import Step
from glowplug.core.priority import PASSED_OVER, Priority
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, NodeSpec
from tests.control.world import FACTS, NODE, SETTINGS, World, spec

INTERACTIVE, BATCH, BACKGROUND = Priority.INTERACTIVE, Priority.BATCH, Priority.BACKGROUND
ROOM_FOR_ONE = 110 + 190 + 500
"""Bytes: an environment, one instance and its weights."""


def served(world: World) -> list[int]:
    """The order in which requests run, one at a time."""
    order = []
    world.engine.answer_all()
    while world.gateway.running:
        (request,) = world.gateway.running
        order.append(request)
        world.gateway.finish(request, took_s=0.1)
        world.engine.answer_all()
    return order


def test_requests_of_a_higher_class_go_first() -> None:
    world = World()
    world.deploy(spec())
    head, low, high, middle = (world.ask(priority=rank) for rank in (0, BACKGROUND, INTERACTIVE, BATCH))
    assert served(world) == [head, high, middle, low]


def test_a_request_is_of_its_functions_class_unless_it_says_so() -> None:
    world = World()
    world.deploy(spec(priority="background"))
    head, usual, urgent, strange = (world.ask(priority=rank) for rank in (0, 0, INTERACTIVE, 77))
    assert served(world) == [urgent, head, usual, strange]


def test_nobody_starves_in_a_queue() -> None:
    world = World()
    world.deploy(spec())
    world.ask()
    poor = world.ask(priority=BACKGROUND)
    world.engine.answer_all()
    for turns in range(100):
        world.ask(priority=INTERACTIVE)
        (request,) = world.gateway.running
        if request == poor:
            assert turns <= PASSED_OVER[BACKGROUND] + 1
            return
        world.gateway.finish(request, took_s=0.1)
    raise AssertionError("never served")


def test_when_the_queue_is_full_the_newest_of_the_lowest_class_makes_room() -> None:
    world = World()
    world.deploy(spec(max_queue=3))
    old, new, middle = (world.ask(priority=rank) for rank in (BACKGROUND, BACKGROUND, BATCH))
    equal = world.ask(priority=BACKGROUND)
    assert world.outcome(equal) == "queue_full"
    high = world.ask(priority=INTERACTIVE)
    assert [world.outcome(r) for r in (old, new, middle, high)] == [None, "queue_full", None, None]
    told = next(c for c in reversed(world.commands) if isinstance(c, Reject))
    assert "higher class" in told.message
    assert told.retry_after_s


def test_over_all_functions_too() -> None:
    world = World(ControlSettings(max_queued=2, environment_estimate_bytes=1000, reserve_margin_bytes=10))
    world.deploy(spec("f", priority="background"), spec("g"))
    low, lower = world.ask("f"), world.ask("f")
    high = world.ask("g")
    assert [world.outcome(r) for r in (low, lower, high)] == [None, "overloaded", None]


def climbing(world: World) -> list[str]:
    return [
        c.spec.declaration.name
        for c in world.commands
        if isinstance(c, Climb) and c.target.kind == "instance"
    ]


def starved(world: World) -> list[str]:
    return [name.partition(".")[0] for name in world.state.nodes[NODE].starved]


def full_world() -> World:
    """`a` runs in the only room that there is."""
    world = World(ControlSettings(
        environment_estimate_bytes=110, reserve_margin_bytes=10, reserve_factor=1.0, eager_stage=False,
    ), ROOM_FOR_ONE + 40)  # fmt: skip
    world.deploy(*(spec(name, priority=label) for name, label in (
        ("a", "interactive"), ("f", "background"), ("g", "batch"), ("h", "interactive"), ("i", "interactive"),
    )))  # fmt: skip
    world.ask("a")
    world.engine.answer_all()
    return world


def test_for_memory_higher_classes_stand_before_lower_ones() -> None:
    world = full_world()
    for name in ("f", "g", "h", "i"):
        world.ask(name)
    assert starved(world) == ["h", "i", "g", "f"]
    for _ in range(6):
        for request in list(world.gateway.running):
            world.gateway.finish(request)
        world.engine.answer_all()
    assert climbing(world) == ["a", "h", "i", "g", "f"]


def test_a_function_moves_up_with_a_request_of_a_higher_class() -> None:
    world = full_world()
    world.ask("g")
    world.ask("f")
    assert starved(world) == ["g", "f"]
    world.ask("f", priority=INTERACTIVE)
    assert starved(world) == ["f", "g"]


def test_nor_does_it_lose_its_place_behind_one_that_nobody_may_overtake_any_more() -> None:
    world = full_world()
    world.deploy(spec("k", priority="batch"))
    world.ask("g")
    world.ask("k")
    for _ in range(PASSED_OVER[BATCH] + 1):
        world.gateway.cancel(world.ask("h"))
    assert starved(world) == ["g", "k"]
    world.ask("g", priority=INTERACTIVE)
    assert starved(world) == ["g", "k"]


def test_nobody_is_overtaken_for_ever_in_the_line_for_memory() -> None:
    world = full_world()
    world.ask("f")
    overtaken = 0
    for _ in range(PASSED_OVER[BACKGROUND] + 5):
        request = world.ask("h")
        overtaken += starved(world)[0] == "h"
        world.gateway.cancel(request)
    assert overtaken == PASSED_OVER[BACKGROUND]
    world.ask("h")
    assert starved(world) == ["f", "h"]


def test_the_one_build_at_a_time_is_of_the_highest_class() -> None:
    world = World(SETTINGS, node=False)
    world.deploy(
        spec("f", priority="background"), spec("g", priority="batch"), spec("h"), spec("i"), built=False
    )
    world.post(NodeJoined(NodeSpec(NODE, 10_000, 2)))
    world.engine.answer_all()
    built = [c.spec.declaration.name for c in world.commands if isinstance(c, Build)]
    assert built == ["h", "i", "g", "f"]


def test_a_climb_is_of_the_class_that_waits_for_it_and_hurries_for_a_higher_one() -> None:
    world = World()
    world.deploy(spec("f", priority="background"), spec("g", priority="batch"))
    world.ask("f")
    (climb,) = (c for c in world.commands if isinstance(c, Climb))
    assert climb.priority == BACKGROUND
    world.ask("g")
    (promoted,) = (c for c in world.commands if isinstance(c, Promote))
    assert (promoted.climb, promoted.priority) == (climb.id, BATCH)
    world.ask("f")
    assert sum(isinstance(c, Promote) for c in world.commands) == 1


def test_the_only_worker_climbs_in_the_class_of_whoever_waits_behind_it() -> None:
    """Else a request that nobody waits for lets all others wait for its own part of the processor."""
    world = World()
    world.deploy(spec("f", max_workers=1))
    world.ask("f", priority=BACKGROUND)
    (environment,) = (c for c in world.commands if isinstance(c, Climb))
    world.engine.succeed(environment.id)
    climb = next(c for c in world.commands if isinstance(c, Climb) and c.target.kind == "instance")
    assert climb.priority == BACKGROUND
    world.ask("f")
    promoted = [c for c in world.commands if isinstance(c, Promote) and c.climb == climb.id]
    assert [each.priority for each in promoted] == [INTERACTIVE]


def test_what_nobody_waits_for_climbs_in_no_class() -> None:
    world = World()
    world.post(Deployed(spec(min_workers=1), FACTS))
    world.engine.answer_all()
    assert {c.priority for c in world.commands if isinstance(c, Climb)} == {0}


def test_of_two_as_much_in_use_the_lower_class_is_evicted() -> None:
    """Though the other was used the longest ago."""
    world = World(ControlSettings(
        environment_estimate_bytes=110, reserve_margin_bytes=10, reserve_factor=1.0, eager_stage=False,
    ), 110 + 2 * 200 + 40)  # fmt: skip
    without_weights = BundleFacts(parked_bytes=90, peak_bytes=190)
    for one in (spec("f"), spec("g", priority="batch"), spec("h")):
        world.post(Deployed(one, without_weights))
    for name in ("f", "g"):
        request = world.ask(name)
        world.engine.answer_all()
        world.gateway.finish(request)
    world.ask("h")
    world.engine.answer_all()
    assert world.state.standing(FunctionId("f.default")) == Step.PARKED
    assert world.state.standing(FunctionId("g.default")) < Step.PARKED
