"""Moves by hand, and until when they hold."""

from __future__ import annotations

import pytest

from glowplug.core.events import ClimbRequested, Deployed, DescendRequested
from glowplug.core.ids import FunctionId
from glowplug.core.ladder import Step
from glowplug.core.specs import BundleFacts
from tests.control.world import World, spec

F = FunctionId("f.default")


@pytest.mark.parametrize("step", [Step.LOCAL, Step.IMPORTED, Step.STAGED])
def test_a_function_stays_where_it_was_sent_until_it_is_called(step: Step) -> None:
    world = World()
    world.parked(spec("f"))
    assert not world.state.is_sent(F, step)
    world.post(DescendRequested(F, step))
    assert world.state.is_sent(F, step)
    world.engine.answer_all()
    assert (world.state.standing(F), world.state.is_sent(F, step)) == (step, True)
    world.ask("f")
    assert not world.state.is_sent(F, step)


def test_who_cannot_have_a_zygote_is_sent_no_further_than_imported() -> None:
    world = World()
    world.post(Deployed(spec("f"), BundleFacts(highest_step=Step.IMPORTED, reason="threads")))
    world.answer(world.ask("f"))
    world.post(DescendRequested(F, Step.STAGED))
    world.engine.answer_all()
    assert (world.state.standing(F), world.state.is_sent(F, Step.STAGED)) == (Step.IMPORTED, False)
    assert world.state.is_sent(F, Step.IMPORTED), "it stays there all the same"


def test_a_call_ends_a_move_that_is_under_way() -> None:
    world = World()
    world.parked(spec("f"))
    world.post(DescendRequested(F, Step.LOCAL))
    world.ask("f")
    assert not world.state.is_sent(F, Step.LOCAL)
    world.engine.answer_all()
    assert world.state.standing(F) > Step.LOCAL


def test_who_was_sent_up_is_not_kept_there() -> None:
    world = World()
    world.deploy(spec("f"))
    world.post(ClimbRequested(F, Step.PARKED))
    assert world.state.is_sent(F, Step.PARKED)
    world.engine.answer_all()
    assert (world.state.standing(F), world.state.is_sent(F, Step.PARKED)) == (Step.PARKED, False)
