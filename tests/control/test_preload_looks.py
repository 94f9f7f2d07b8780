"""When ladder looks at a function, and whom its climbs and others' requests leave alone."""

from __future__ import annotations

from glowplug.core.commands import Descend
from glowplug.core.events import NodeJoined
from glowplug.core.ids import NodeId, RequestId
from glowplug.core.ladder import Step
from glowplug.core.specs import NodeSpec
from tests.control.ahead import PERIOD_S, call_regularly, climbs, ladder, serve
from tests.control.world import World, spec

OTHER = NodeId("there")
ENVIRONMENT_BYTES, MODEL_BYTES, WORKER_BYTES, MARGIN_BYTES = 110, 700, 200, 20
"""Of an environment, of a worker with its weights and of it alone, and what is reserved beside them."""


def world_for(models: int, more_bytes: int = 0) -> World:
    """Room for so many."""
    settings = ladder(prewarm="kept", environment_estimate_bytes=ENVIRONMENT_BYTES)
    budget_bytes = ENVIRONMENT_BYTES + models * MODEL_BYTES + MARGIN_BYTES + more_bytes
    return World(settings, budget_bytes=budget_bytes)


def descents(world: World, name: str) -> list[Descend]:
    functions = {f"{climb.target.key}": climb.spec.declaration.name for climb in climbs(world, name)}
    return [c for c in world.commands if isinstance(c, Descend) and c.target.kind == "instance"
            and functions.get(c.target.key) == name]  # fmt: skip


def until_the_next_call(world: World, name: str) -> None:
    """It is called regularly, and about to be called again."""
    call_regularly(world, name, 8)
    serve(world, name)
    world.advance(PERIOD_S - 0.1)
    world.engine.answer_all()


def test_a_burst_is_looked_for_after_the_long_gap_before_it() -> None:
    """Nine of ten gaps are of a second: the whole distribution says nothing of ten minutes."""
    world = World(ladder())
    world.deploy(spec("burst", prewarm="none"))
    for _ in range(8):
        for _ in range(10):
            serve(world, "burst")
            world.engine.answer_all()
            world.advance(1.0)
        world.advance(590.0)
        world.engine.answer_all()
    assert world.standing("burst") == Step.PARKED


def late_while_busy(run_s: float = 0.2) -> tuple[World, RequestId, RequestId]:
    """`due` is idle and about to be called, `busy` runs for `run_s`, and `late` lacks less memory than either
    has. Returns the requests of the last two."""
    world = world_for(2, MODEL_BYTES - WORKER_BYTES + 10)
    world.parked(spec("busy"))
    world.deploy(spec("due"), spec("late"))
    until_the_next_call(world, "due")
    seconds = world.state.context.policies.costs.seconds
    seconds[spec("busy").version]["run"], seconds[spec("due").version]["imported"] = run_s, 1.0
    running = world.ask("busy", timeout_s=1000.0)
    return world, running, world.ask("late")


def test_a_request_waits_for_a_worker_that_is_about_to_be_free_rather_than_evict_what_is_due() -> None:
    world, running, late = late_while_busy()
    assert not descents(world, "due")
    world.gateway.finish(running)
    assert descents(world, "busy")
    world.answer(late)
    assert world.outcome(late) == "done"
    assert not descents(world, "due")
    assert world.ask("due") in world.gateway.running


def test_a_request_waits_no_longer_for_that_than_it_is_worth() -> None:
    world, _, late = late_while_busy()
    assert not descents(world, "due")
    world.advance(1.5)
    assert descents(world, "due")
    world.answer(late)
    assert world.outcome(late) == "done"


def test_a_request_goes_to_the_node_where_what_has_to_go_is_needed_least() -> None:
    """Although more is free at the other."""
    world = world_for(1)
    world.parked(spec("due"))
    environment = spec("idle").environment_key
    world.state.context.policies.costs.seconds[environment] = {"environment": 0.0}
    world.post(NodeJoined(NodeSpec(OTHER, ENVIRONMENT_BYTES + MODEL_BYTES + MARGIN_BYTES - 5, 2)))
    world.parked(spec("idle"))
    assert {climb.target.node for climb in climbs(world, "idle")} == {OTHER}
    world.deploy(spec("late"))
    until_the_next_call(world, "due")
    late = world.ask("late")
    assert not descents(world, "due")
    assert descents(world, "idle")
    world.answer(late)
    assert world.outcome(late) == "done"


def test_what_is_due_in_a_while_stays_rather_than_what_is_rare() -> None:
    """Some time before a timer's next call nothing says that it is called in the next seconds."""
    world = world_for(2)
    world.deploy(spec("timer"), spec("rare"), spec("late"))
    for turn in range(60):
        if turn in (0, 5, 25, 31, 50):
            serve(world, "rare")
            world.engine.answer_all()
        serve(world, "timer")
        world.engine.answer_all()
        world.advance(4 * PERIOD_S)
    serve(world, "rare")
    serve(world, "timer")
    world.advance(2.8 * PERIOD_S)
    world.engine.answer_all()
    before = len(descents(world, "timer"))
    late = world.ask("late")
    world.engine.answer_all()
    assert len(descents(world, "timer")) == before
    assert descents(world, "rare")
    world.answer(late)
    assert world.outcome(late) == "done"
