"""While others on its machine need a node's memory: what does not fit waits, or is told to come again."""

from __future__ import annotations

from glowplug.core.commands import Build, Reject
from glowplug.core.events import PressureChanged, ScaleRequested
from glowplug.core.ids import FunctionId
from tests.control.world import NODE, World, spec

BUDGET_BYTES = 10_000
PRESSED_BYTES = 300


def pressed() -> World:
    world = World(budget_bytes=BUDGET_BYTES)
    world.post(PressureChanged(NODE, PRESSED_BYTES))
    return world


def test_a_request_that_does_not_fit_now_is_told_to_come_again() -> None:
    world = pressed()
    world.deploy(spec())
    refused = world.ask()
    assert world.outcome(refused) == "no_space"
    (reject,) = [command for command in world.commands if isinstance(command, Reject)]
    assert reject.retry_after_s
    assert "others on the machine" in reject.message
    world.post(PressureChanged(NODE, BUDGET_BYTES))
    again = world.ask()
    world.answer(again)
    assert world.outcome(again) == "done"


def test_a_function_that_could_never_fit_is_not_told_of_others() -> None:
    world = World(budget_bytes=PRESSED_BYTES)
    world.deploy(spec())
    world.ask()
    (reject,) = [command for command in world.commands if isinstance(command, Reject)]
    assert "raise the budget" in reject.message


def test_workers_that_are_kept_come_back_when_others_have_gone() -> None:
    world = World(budget_bytes=BUDGET_BYTES)
    world.parked(spec())
    world.post(ScaleRequested(FunctionId("f.default"), 2))
    world.engine.answer_all()
    version = world.state.context.store.versions[spec().version]
    assert version.live == 2
    world.post(PressureChanged(NODE, PRESSED_BYTES))
    world.engine.answer_all()
    world.advance(60.0)
    world.engine.answer_all()
    assert version.live == 0
    world.post(PressureChanged(NODE, BUDGET_BYTES))
    world.engine.answer_all()
    assert version.live == 2


def test_a_build_waits_for_memory_that_others_need() -> None:
    world = pressed()
    world.deploy(spec(), built=False)
    world.engine.answer_all()
    assert not [command for command in world.commands if isinstance(command, Build)]
    assert world.state.context.store.versions[spec().version].state == "pending"
    world.post(PressureChanged(NODE, BUDGET_BYTES))
    world.engine.answer_all()
    assert world.state.context.store.versions[spec().version].state == "built"
