from __future__ import annotations

from typing import Any

import pytest

from glowplug.control.ledger import Ledger
from glowplug.core.commands import Climb, Descend, Target
from glowplug.core.events import HeldChanged, PressureChanged, ScaleRequested, StepLost
from glowplug.core.ids import FunctionId
from glowplug.core.ladder import Step
from glowplug.core.settings import ControlSettings
from tests.control.world import NODE, World, kinds, spec

TIGHT = ControlSettings(
    environment_estimate_bytes=200, reserve_margin_bytes=10, reserve_factor=1, eager_stage=False
)
"""Of 1100 bytes, one function at a time fits: 110 of its environment, 200 of an instance, 500 of weights."""
ENVIRONMENT_BYTES, INSTANCE_BYTES, WEIGHT_BYTES = 1000, 200, 500
MEASURED_ENVIRONMENT_BYTES = 110
"""The fake engine's 100 and the margin."""


def used_bytes(world: World) -> int:
    return world.state.context.store.ledger.used[NODE]


def test_the_ledger_refuses_what_does_not_fit() -> None:
    ledger = Ledger()
    ledger.open("n", 100)
    assert ledger.reserve("a", "n", 60)
    assert not ledger.reserve("b", "n", 41)
    assert ledger.reserve("b", "n", 40)
    ledger.leave("a")
    assert ledger.free_bytes("n") == 0, "what leaves still counts"
    ledger.release("a")
    assert ledger.free_bytes("n") == 60
    assert ledger.leaving["n"] == 0


def test_the_ledger_knows_each_key_once() -> None:
    ledger = Ledger()
    ledger.open("n", 100)
    ledger.record("a", "n", 60)
    with pytest.raises(ValueError, match="already"):
        ledger.record("a", "n", 1)


def test_every_byte_is_accounted_for() -> None:
    world = World()
    world.deploy(spec())
    world.ask()
    assert used_bytes(world) == ENVIRONMENT_BYTES
    world.engine.answer_all()
    assert used_bytes(world) == MEASURED_ENVIRONMENT_BYTES + INSTANCE_BYTES + WEIGHT_BYTES


def test_an_idle_instance_goes_for_a_request_that_needs_its_memory() -> None:
    world = World(TIGHT, 1100)
    world.parked(spec("f"))
    world.deploy(spec("g"))
    request = world.ask("g")
    world.engine.answer_all()
    assert request in world.gateway.running
    assert used_bytes(world) <= 1100
    assert world.standing("f") == Step.IMPORTED


def test_a_climb_waits_until_the_victims_memory_is_free() -> None:
    world = World(TIGHT, 1100)
    world.parked(spec("f"))
    world.deploy(spec("g"))
    world.ask("g")
    assert kinds(world.commands)[-3:] == ["revoke", "descend instance", "descend weights"]
    world.engine.succeed(next(iter(world.engine.pending)))
    assert kinds(world.commands)[-1] == "descend weights", "one of them is not enough"
    world.engine.succeed(next(iter(world.engine.pending)))
    assert kinds(world.commands)[-2:] == ["climb instance", "dispatch"]
    assert used_bytes(world) <= 1100


def test_a_busy_instance_is_never_a_victim() -> None:
    world = World(TIGHT, 1100)
    world.deploy(spec("f"), spec("g"))
    busy, waiting = world.ask("f"), world.ask("g")
    world.engine.answer_all()
    assert set(world.gateway.running) == {busy}
    world.gateway.finish(busy)
    world.engine.answer_all()
    assert set(world.gateway.running) == {waiting}


def test_the_least_asked_for_goes_first() -> None:
    world = World(budget_bytes=ENVIRONMENT_BYTES + 3 * (INSTANCE_BYTES + WEIGHT_BYTES) - 300)
    world.parked(spec("rare"))
    for _ in range(3):
        world.parked(spec("often")) if world.standing("often") == Step.REMOTE else world.gateway.finish(
            world.ask("often")
        )
    world.gateway.report()
    world.parked(spec("third"))
    world.parked(spec("fourth"))
    assert world.standing("often") == Step.PARKED
    assert world.standing("rare") == Step.IMPORTED


def test_what_can_never_fit_is_rejected_with_the_reason() -> None:
    world = World(budget_bytes=1500)
    world.deploy(spec())
    assert world.outcome(world.ask()) == "no_space"


def test_a_build_that_can_never_fit_fails() -> None:
    world = World(budget_bytes=1200)
    world.deploy(spec(memory_bytes=300), built=False)
    assert "memory budget" in world.state.functions[spec().function].error


def test_requests_wait_for_memory_in_their_order() -> None:
    world = World(TIGHT, 1100)
    world.deploy(spec("f"), spec("g"), spec("h"))
    first, second, third = world.ask("f"), world.ask("g"), world.ask("h")
    order = []
    for _ in range(3):
        world.engine.answer_all()
        (running,) = world.gateway.running
        order.append(running)
        world.gateway.finish(running)
    assert order == [first, second, third]


def test_a_request_that_gives_up_does_not_hold_up_those_behind_it() -> None:
    world = World(TIGHT, 1100)
    world.deploy(spec("f"), spec("g"), spec("h"))
    busy = world.ask("f")
    world.engine.answer_all()
    impatient, patient = world.ask("g", timeout_s=5.0), world.ask("h", timeout_s=60.0)
    world.advance(6.0)
    assert world.outcome(impatient) == "deadline_passed"
    world.gateway.finish(busy)
    world.engine.answer_all()
    assert patient in world.gateway.running


def test_a_shrunken_budget_is_met_again() -> None:
    world = World()
    world.parked(spec())
    world.post(PressureChanged(NODE, 300))
    world.engine.answer_all()
    assert used_bytes(world) <= 300


def test_an_instance_that_turns_out_bigger_is_counted_as_it_is() -> None:
    world = World()
    number = world.parked(spec())
    before = used_bytes(world)
    target = Target("instance", NODE, str(number))
    world.post(HeldChanged(target, INSTANCE_BYTES - 50))
    assert used_bytes(world) == before, "its next request may need it"
    world.post(HeldChanged(target, INSTANCE_BYTES + 50))
    assert used_bytes(world) == before + 50


def test_what_stands_on_weights_goes_no_further_than_these_are_needed() -> None:
    """A worker is smaller than its weights, which are free to go once it has gone: one worker is enough."""
    world = World(TIGHT, MEASURED_ENVIRONMENT_BYTES + 3 * (INSTANCE_BYTES + WEIGHT_BYTES))
    for name in "fgh":
        world.parked(spec(name))
        world.answer(world.ask(name))
    world.deploy(spec("i"))
    before = len(world.commands)
    request = world.ask("i")
    world.engine.answer_all()
    descents = [c.target.kind for c in world.commands[before:] if isinstance(c, Descend)]
    assert descents == ["instance", "weights"]
    assert request in world.gateway.running


def test_weights_that_were_to_go_stay_when_their_function_is_asked_for() -> None:
    world = World(TIGHT, MEASURED_ENVIRONMENT_BYTES + 2 * (INSTANCE_BYTES + WEIGHT_BYTES))
    for name in "fg":
        world.parked(spec(name))
        world.answer(world.ask(name))
        world.ask(name)  # under its lease, which nobody has reported yet: it has to be waited for
    world.deploy(spec("h"))
    late = world.ask("h")
    (node,) = world.state.context.store.nodes.values()
    (weights,) = node.doomed
    world.gateway.cancel(late)
    again = world.ask(weights.rpartition("/")[2][0])
    for running in list(world.gateway.running):
        world.gateway.finish(running)
    world.engine.answer_all()
    world.answer(again)
    assert world.outcome(again) == "done"
    assert not node.doomed


def test_what_an_instance_alone_stood_on_goes_with_it() -> None:
    """Not one after the other: who waits for their memory waits for the longest of them."""
    world = World(ControlSettings(environment_estimate_bytes=1000, reserve_margin_bytes=10), 10_000)
    world.parked(spec())
    world.engine.answer_all()
    world.post(PressureChanged(NODE, 100))
    descents = [c.target.kind for c in world.commands if isinstance(c, Descend)]
    assert descents == ["instance", "version", "weights", "environment"]
    assert used_bytes(world) > 100, "what leaves still counts"
    world.engine.answer_all()
    assert used_bytes(world) == 0


def test_an_outdated_loss_is_ignored() -> None:
    world = World()
    number = world.parked(spec())
    target = Target("instance", NODE, str(number))
    assert world.post(StepLost(target, Step.STAGED, "", command=12345)) == []  # type: ignore[arg-type]
    assert world.standing() == Step.PARKED


@pytest.mark.parametrize("declared", [{"min_workers": 1}, {"preload": "always"}])
def test_a_worker_that_holds_more_than_was_thought_does_not_come_and_go(declared: dict[str, Any]) -> None:
    """There is room for what its build measured. Once it is up it has to go, and its room is free again."""
    world = World(TIGHT, MEASURED_ENVIRONMENT_BYTES + 2 * (INSTANCE_BYTES + WEIGHT_BYTES))
    world.deploy(spec("busy"))
    busy = world.ask("busy")
    world.engine.answer_all()
    world.engine.held_bytes = lambda target: INSTANCE_BYTES + 100
    world.deploy(spec("large", **declared))
    world.engine.answer_all()
    climbs = [c for c in world.commands if isinstance(c, Climb) and c.spec.declaration.name == "large"]
    assert len(climbs) == 1
    world.gateway.finish(busy)
    world.post(ScaleRequested(FunctionId("busy.default"), 0))
    world.engine.answer_all()
    assert world.standing("large") == Step.PARKED
