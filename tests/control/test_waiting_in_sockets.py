"""Requests that wait in the socket of a lent worker: stopped there, sent elsewhere, and who comes to help."""

from __future__ import annotations

from glowplug.core.commands import Cancel, Climb, Lease
from glowplug.core.events import ScaleRequested
from tests.control.leased import MIDDLE_S, SHORT_S, F, finish_in_order, last_lease, takes, warm
from tests.control.world import World, kinds, spec


def test_a_request_that_waits_in_the_socket_is_stopped_only_when_it_is_next() -> None:
    """For a worker that does not let go is killed, and with it what runs."""
    world = World()
    world.deploy(spec(target_concurrency=1))
    takes(world, MIDDLE_S)
    first, second = world.ask(), world.ask()
    world.engine.answer_all()
    assert set(world.gateway.running) == {first, second}
    world.gateway.cancel(second)
    assert not any(isinstance(c, Cancel) for c in world.commands)
    world.advance(20.0)
    assert "descend instance" not in kinds(world.commands), "nobody is killed for waiting"
    world.gateway.finish(first, took_s=MIDDLE_S)
    assert [c.request for c in world.commands if isinstance(c, Cancel)] == [second]
    world.engine.answer_all()
    assert world.state.context.store.requests == {}


def test_a_deadline_passes_in_the_socket() -> None:
    world = World()
    world.deploy(spec())
    takes(world, MIDDLE_S)
    first, second = world.ask(), world.ask(timeout_s=5.0)
    world.engine.answer_all()
    world.advance(6.0)
    assert (world.outcome(first), world.outcome(second)) == (None, "deadline_passed")
    world.gateway.finish(first, took_s=MIDDLE_S)
    world.gateway.finish(second, ok=False, took_s=0.0)
    assert world.state.context.store.requests == {}


def test_those_never_begun_go_elsewhere_when_their_worker_dies() -> None:
    world = World()
    world.deploy(spec())
    takes(world, MIDDLE_S)
    first, second = world.ask(), world.ask()
    world.engine.answer_all()
    world.gateway.start(first)
    world.engine.exit(next(t for t in world.engine.up if t.kind == "instance"))
    assert (world.outcome(first), world.outcome(second)) == ("worker_died", None)
    world.answer(second)
    assert world.outcome(second) == "done"


def test_nobody_is_sent_behind_requests_that_do_not_move() -> None:
    """Under the lease the gateway sees it first, and tells; the controller keeps who comes in its queue."""
    world = warm(SHORT_S)
    stuck = world.ask()
    assert world.ask() in world.gateway.running, "nobody knows yet"
    world.advance(0.2)
    late, later = world.ask(), world.ask()
    assert {late, later} <= set(world.gateway.waiting)
    world.gateway.finish(stuck, took_s=0.2)
    for _ in range(3):
        finish_in_order(world, SHORT_S)
        world.gateway.report()
    assert [world.outcome(r) for r in (stuck, late, later)] == ["done"] * 3


def test_nor_behind_one_that_was_bound() -> None:
    world = World()
    world.deploy(spec())
    takes(world, MIDDLE_S)
    world.ask()
    world.engine.answer_all()
    world.advance(0.2)
    late = world.ask()
    assert late in world.gateway.waiting
    world.advance(5.0)
    assert late in world.gateway.waiting


def test_another_worker_climbs_for_who_would_wait_behind_it() -> None:
    world = warm(SHORT_S, max_workers=2)
    world.ask()
    world.advance(0.2)
    late = world.ask()
    world.engine.answer_all()
    assert world.gateway.running[late] == 2


def climbs(world: World) -> int:
    return sum(isinstance(c, Climb) and c.target.kind == "instance" for c in world.commands)


def test_a_second_worker_comes_when_more_waits_under_a_lease_than_a_climb_takes() -> None:
    world = warm(0.0005, max_workers=2)
    world.state.context.policies.costs.seconds["f-v1"]["imported"] = 0.02
    crowd = [world.ask() for _ in range(90)]
    assert world.outcome(crowd[-1]) is None
    for _ in range(2):
        assert climbs(world) <= 2
        world.gateway.report()
        world.gateway.finish(next(iter(world.gateway.running)), took_s=0.0005)
        world.gateway.report()
    assert climbs(world) == 2


def test_one_burst_is_over_before_another_worker_would_be_up() -> None:
    world = warm(0.0005, max_workers=2)
    world.state.context.policies.costs.seconds["f-v1"]["imported"] = 0.01
    slots = last_lease(world).slots
    for _ in range(slots):
        world.ask()
    world.gateway.report()
    finish_in_order(world, 0.0005)
    world.gateway.report()
    assert climbs(world) == 1


def test_workers_that_climbed_before_any_request_are_lent_with_the_first() -> None:
    world = World()
    world.deploy(spec(max_workers=2, min_workers=2))
    world.engine.answer_all()
    world.post(ScaleRequested(F, 2))
    world.engine.answer_all()
    assert "lease" not in kinds(world.commands)
    world.ask()
    assert {c.instance for c in world.commands if isinstance(c, Lease)} == {1}
    world.gateway.finish(next(iter(world.gateway.running)))
    assert {c.instance for c in world.commands if isinstance(c, Lease)} == {1, 2}


def test_an_idle_worker_is_lent_when_another_has_more_than_it_runs_at_once() -> None:
    world = warm(MIDDLE_S, max_workers=2)
    world.post(ScaleRequested(F, 2))
    world.engine.answer_all()
    world.advance(31.0)
    world.gateway.report()
    first = world.ask()
    (busy,) = world.gateway.running.values()
    world.gateway.finish(first, took_s=MIDDLE_S)
    world.ask()
    world.ask()
    assert set(world.gateway.running.values()) == {busy}
    before = len(world.commands)
    world.gateway.report()
    assert [c.instance for c in world.commands[before:] if isinstance(c, Lease)] == [3 - busy]
