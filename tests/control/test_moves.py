"""Moves by hand, and until when they hold."""

from __future__ import annotations

import pytest

from glowplug.core.events import ClimbRequested, DescendRequested
from glowplug.core.ids import FunctionId
from glowplug.core.ladder import Step
from tests.control.world import World, spec

F = FunctionId("f.default")


@pytest.mark.parametrize("step", [Step.LOCAL, Step.IMPORTED, Step.STAGED])
def test_a_function_stays_where_it_was_sent_until_it_is_called(step: Step) -> None:
    world = World()
    world.parked(spec("f"))
    assert not world.state.is_sent(F)
    world.post(DescendRequested(F, step))
    assert world.state.is_sent(F)
    world.engine.answer_all()
    assert (world.state.standing(F), world.state.is_sent(F)) == (step, True)
    world.ask("f")
    assert not world.state.is_sent(F)


def test_a_call_ends_a_move_that_is_under_way() -> None:
    world = World()
    world.parked(spec("f"))
    world.post(DescendRequested(F, Step.LOCAL))
    world.ask("f")
    assert not world.state.is_sent(F)
    world.engine.answer_all()
    assert world.state.standing(F) > Step.LOCAL


def test_who_was_sent_up_is_not_kept_there() -> None:
    world = World()
    world.deploy(spec("f"))
    world.post(ClimbRequested(F, Step.PARKED))
    assert world.state.is_sent(F)
    world.engine.answer_all()
    assert (world.state.standing(F), world.state.is_sent(F)) == (Step.PARKED, False)
