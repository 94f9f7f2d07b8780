from __future__ import annotations

from functools import partial

import pytest

from glowplug.core.commands import Cancel, Climb, Descend, Dispatch, Reject
from glowplug.core.events import Deployed, RequestArrived, ScaleRequested
from glowplug.core.ids import FunctionId, GatewayId, RequestId
from glowplug.core.ladder import Step
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts
from tests.control.world import FACTS, SETTINGS, World, kinds, spec


@pytest.fixture
def world() -> World:
    return World()


def last_reject(world: World) -> Reject:
    return next(c for c in reversed(world.commands) if isinstance(c, Reject))


def test_a_cold_request_climbs_its_environment_then_an_instance_and_goes_there_at_once(
    world: World,
) -> None:
    world.deploy(spec())
    request = world.ask()
    assert kinds(world.commands) == ["climb environment"]
    world.engine.succeed(next(iter(world.engine.pending)))
    assert kinds(world.commands)[1:] == ["climb instance", "dispatch"]
    climb = next(c for c in world.commands if isinstance(c, Climb) and c.target.kind == "instance")
    assert (climb.origin, climb.prime) == (Step.IMPORTED, False)
    assert world.gateway.running[request] == int(climb.target.key)


def test_a_second_function_of_the_environment_shares_its_climb(world: World) -> None:
    world.deploy(spec("f"), spec("g"))
    world.ask("f")
    world.ask("g")
    assert kinds(world.commands) == ["climb environment"]
    world.engine.succeed(next(iter(world.engine.pending)))
    assert kinds(world.commands).count("climb instance") == 2


def test_a_staged_function_climbs_from_its_zygote() -> None:
    world = World(ControlSettings(environment_estimate_bytes=1000, reserve_margin_bytes=10))
    instance = world.parked(spec())
    assert "climb version" in kinds(world.commands), "staged after its first answer"
    world.engine.answer_all()
    world.advance(400.0)
    world.gateway.report()
    world.advance(1.0)
    world.gateway.report()
    world.engine.answer_all()
    assert world.standing() == Step.STAGED
    request = world.ask()
    climb = next(c for c in reversed(world.commands) if isinstance(c, Climb))
    assert climb.origin == Step.STAGED
    assert world.gateway.running[request] != instance


def test_an_answer_that_overtakes_the_news_of_its_climb_changes_no_decision() -> None:
    """One comes from the worker's socket, the other through the agent."""
    told = []
    for overtakes in (False, True):
        world = World(ControlSettings(environment_estimate_bytes=1000, reserve_margin_bytes=10))
        world.deploy(spec())
        request = world.ask()
        world.engine.succeed(next(iter(world.engine.pending)))
        (climb,) = world.engine.pending
        ends = [partial(world.engine.succeed, climb), partial(world.gateway.finish, request)]
        for end in reversed(ends) if overtakes else ends:
            end()
        told.append(kinds(world.commands))
    assert told[0] == told[1]
    assert told[0][-2:] == ["lease", "climb version"]


def test_a_function_that_cannot_fork_is_never_staged() -> None:
    world = World(ControlSettings(environment_estimate_bytes=1000, reserve_margin_bytes=10))
    world.post(Deployed(spec(), BundleFacts(highest_step=Step.IMPORTED, reason="threads")))
    world.answer(world.ask())
    assert "climb version" not in kinds(world.commands)


def test_requests_of_a_function_are_served_in_their_order(world: World) -> None:
    world.deploy(spec())
    first, second, third = world.ask(), world.ask(), world.ask()
    world.answer(first)
    assert set(world.gateway.running) == {second}
    world.gateway.finish(second)
    assert set(world.gateway.running) == {third}


def test_an_unknown_function_is_rejected(world: World) -> None:
    assert world.outcome(world.ask("nobody")) == "unknown_function"


def test_a_full_queue_is_rejected_with_a_time_to_come_back(world: World) -> None:
    world.deploy(spec(max_queue=2))
    waiting = [world.ask() for _ in range(2)]
    refused = world.ask()
    assert world.outcome(refused) == "queue_full"
    assert (last_reject(world).retry_after_s or 0) > 0
    assert [world.outcome(request) for request in waiting] == [None, None]


def test_without_a_queue_who_comes_while_one_climbs_ahead_is_sent_there(world: World) -> None:
    world.deploy(spec(max_queue=0))
    world.post(ScaleRequested(FunctionId("f.default"), 1))
    world.engine.succeed(next(iter(world.engine.pending)))
    assert kinds(world.commands)[-1] == "climb instance"
    first, second = world.ask(), world.ask()
    assert [world.outcome(request) for request in (first, second)] == [None, "queue_full"]
    world.answer(first)
    assert world.outcome(first) == "done"


def test_too_many_waiting_over_all_functions_is_overload() -> None:
    world = World(ControlSettings(max_queued=2, environment_estimate_bytes=1000, reserve_margin_bytes=10))
    world.deploy(spec("f"), spec("g"))
    world.ask("f")
    world.ask("f")
    assert world.outcome(world.ask("g")) == "overloaded"


def test_a_queued_request_is_rejected_at_its_deadline(world: World) -> None:
    world.deploy(spec())
    request = world.ask(timeout_s=5.0)
    world.advance(4.9)
    assert world.outcome(request) is None
    world.advance(0.2)
    assert world.outcome(request) == "deadline_passed"


def test_a_request_for_what_is_still_built_is_told_so(world: World) -> None:
    world.deploy(spec(), built=False)
    request = world.ask(timeout_s=5.0)
    world.advance(5.1)
    assert world.outcome(request) == "deadline_passed"
    (refusal,) = [c for c in world.commands if isinstance(c, Reject)]
    assert refusal.message == "f.default did not answer before the deadline: it was still being built"


def test_a_running_request_is_stopped_at_its_deadline(world: World) -> None:
    world.deploy(spec())
    request = world.ask(timeout_s=5.0)
    world.engine.answer_all()
    world.advance(5.1)
    assert world.outcome(request) == "deadline_passed"
    assert any(isinstance(c, Cancel) and c.request == request for c in world.commands)
    world.engine.answer_all()
    assert world.standing() == Step.PARKED, "the instance is free again"


def test_a_client_that_leaves_takes_its_request_out_of_the_queue(world: World) -> None:
    world.deploy(spec())
    first, second = world.ask(), world.ask()
    world.gateway.cancel(second)
    world.answer(first)
    assert not world.gateway.running


def test_a_cancelled_request_that_does_not_end_costs_the_instance(world: World) -> None:
    world.deploy(spec())
    request = world.ask()
    world.engine.answer_all()
    world.gateway.cancel(request)
    world.engine.pending.clear()
    world.advance(10.0)
    assert any(isinstance(c, Descend) and c.target.kind == "instance" for c in world.commands)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_climb_outlives_the_request_that_began_it(world: World, leaves: bool) -> None:
    """Its worker reads nothing before it is there, and could not let go of a request."""
    world.deploy(spec())
    request = world.ask(timeout_s=1000.0 if leaves else 5.0)
    world.engine.succeed(next(iter(world.engine.pending)))
    (climb,) = world.engine.pending.values()
    world.advance(5.0)
    if leaves:
        world.gateway.cancel(request)
    world.advance(15.0)
    assert list(world.engine.pending.values()) == [climb], "it is neither stopped nor given up"
    world.engine.succeed(climb.id)
    (cancel,) = world.engine.pending.values()
    assert isinstance(cancel, Cancel)
    assert cancel.request == request
    world.engine.answer_all()
    assert world.standing() == Step.PARKED


def test_a_worker_that_dies_fails_its_request_and_is_not_retried(world: World) -> None:
    world.deploy(spec())
    request = world.ask()
    world.engine.answer_all()
    world.gateway.start(request)
    world.engine.exit(next(t for t in world.engine.up if t.kind == "instance"))
    assert world.outcome(request) == "worker_died"


def test_a_request_that_its_worker_never_began_goes_to_another_once(world: World) -> None:
    world.deploy(spec())
    request = world.ask()
    for outcome in (None, "unavailable"):
        world.engine.answer_all()
        world.engine.exit(next(t for t in world.engine.up if t.kind == "instance"))
        assert world.outcome(request) == outcome


def test_a_climb_that_cannot_work_answers_with_its_error(world: World) -> None:
    world.deploy(spec())
    request = world.ask()
    world.engine.succeed(next(iter(world.engine.pending)))
    world.engine.fail(next(iter(world.engine.pending)), "weights", "tensor w is missing", permanent=True)
    assert world.outcome(request) == "weights"
    assert "tensor w" in last_reject(world).message


def test_a_climb_that_fails_by_bad_luck_is_tried_once_more(world: World) -> None:
    world.deploy(spec())
    request = world.ask()
    world.engine.succeed(next(iter(world.engine.pending)))
    world.engine.fail(next(iter(world.engine.pending)))
    assert world.outcome(request) is None
    world.engine.fail(next(iter(world.engine.pending)))
    assert world.outcome(request) == "unavailable"


def test_a_climb_that_never_ends_is_given_up(world: World) -> None:
    world.deploy(spec())
    request = world.ask(timeout_s=1000.0)
    world.engine.succeed(next(iter(world.engine.pending)))
    world.advance(SETTINGS.climb_timeout_s + 1)
    descents = [c for c in world.commands if isinstance(c, Descend)]
    assert [c.target.kind for c in descents] == ["instance"]
    world.engine.succeed(descents[0].id)
    world.engine.answer_all()
    assert request in world.gateway.running


def test_the_same_request_twice_is_one(world: World) -> None:
    world.deploy(spec())
    event = RequestArrived(RequestId(7), FunctionId("f.default"), GatewayId("g0"), world.clock() + 9)
    world.post(event)
    assert world.post(event) == []


def test_more_workers_climb_when_the_queue_would_take_longer(world: World) -> None:
    world.deploy(spec(max_workers=3))
    world.parked(spec(max_workers=3))
    world.state.context.policies.costs.learn("f-v1", "run", 60.0)
    world.ask()
    before = kinds(world.commands).count("climb instance")
    for _ in range(3):
        world.ask()
    assert kinds(world.commands).count("climb instance") == before + 2, "up to max_workers"


def test_a_function_of_one_worker_never_has_two(world: World) -> None:
    world.deploy(spec())
    for _ in range(20):
        world.ask()
    world.engine.answer_all()
    assert kinds(world.commands).count("climb instance") == 1
    assert sum(isinstance(c, Dispatch) for c in world.commands) == 1


def test_facts_come_with_every_climb(world: World) -> None:
    world.deploy(spec())
    world.ask()
    world.engine.answer_all()
    assert all(c.facts == FACTS for c in world.commands if isinstance(c, Climb))
