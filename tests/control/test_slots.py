"""Several requests in one worker: under a lease, beside one, and without."""

from __future__ import annotations

from glowplug.control.capacity import MOST_SLOTS, overflow
from glowplug.control.learning import learn_run
from glowplug.core.commands import Cancel, Climb, Dispatch, Lease, Revoke
from glowplug.core.events import ScaleRequested
from glowplug.core.ids import FunctionId, GatewayId, VersionId
from tests.control.world import World, kinds, spec

F = FunctionId("f.default")
SHORT_S, MIDDLE_S, LONG_S = 0.0001, 0.01, 0.2


def warm(took_s: float, gateways: int = 1, **declared: object) -> World:
    """One worker is up, lent, and known to take that long for a request."""
    world = World(gateways=gateways)
    world.deploy(spec(**declared))
    for _ in range(20):
        request = world.ask()
        world.engine.answer_all()
        world.gateway.finish(request, took_s=took_s)
        world.gateway.report()
    return world


def takes(world: World, run_s: float) -> None:
    context = world.state.context
    learn_run(context, context.store.versions[VersionId("f-v1")], run_s)


def last_lease(world: World) -> Lease:
    return next(c for c in reversed(world.commands) if isinstance(c, Lease))


def dispatched(world: World) -> list[Dispatch]:
    return [c for c in world.commands if isinstance(c, Dispatch)]


def finish_in_order(world: World, took_s: float, count: int = 1000) -> None:
    """As a worker does: first come, first served."""
    for _ in range(count):
        if not world.gateway.running:
            return
        world.gateway.finish(next(iter(world.gateway.running)), took_s=took_s)


def test_a_lease_has_one_slot_until_a_cost_is_known_and_then_as_many_as_the_cost_allows() -> None:
    world = World()
    world.deploy(spec())
    first = world.ask()
    world.engine.answer_all()
    world.gateway.finish(first, took_s=LONG_S)
    assert last_lease(world).slots == 1
    for _ in range(20):
        world.gateway.finish(world.ask(), took_s=0.001)
    world.gateway.report()
    assert last_lease(world).slots >= 4, "without waiting for the lease to be renewed"


def test_a_cost_that_rises_takes_slots_away() -> None:
    world = warm(SHORT_S)
    assert last_lease(world).slots > 20
    for _ in range(20):
        world.gateway.finish(world.ask(), took_s=LONG_S)
    world.gateway.report()
    assert last_lease(world).slots == 1


def test_more_than_the_slots_widens_the_lease_and_nothing_is_taken_back() -> None:
    world = warm(SHORT_S)
    slots = last_lease(world).slots
    for _ in range(slots):
        world.ask()
    before = len(world.commands)
    assert len(dispatched(world)) == 1, "all under the lease"
    for _ in range(300):
        world.ask()
    assert not any(isinstance(c, Revoke) for c in world.commands[before:])
    assert last_lease(world).slots == MOST_SLOTS
    assert len(world.gateway.running) <= MOST_SLOTS + overflow(MOST_SLOTS)
    for _ in range(60):
        finish_in_order(world, SHORT_S, 10)
        world.gateway.report()
    assert not world.gateway.waiting
    assert set(world.gateway.outcomes.values()) == {"done", "queue_full"}


def test_a_queue_moves_while_its_worker_stays_lent_and_busy() -> None:
    """Clients that come back at once take every slot that is free under the lease, and starve nobody."""
    world = warm(SHORT_S)
    crowd = [world.ask() for _ in range(280)]
    queued = [request for request in crowd if request in world.gateway.waiting]
    assert len(queued) > 20
    for _ in range(900):
        world.gateway.finish(next(iter(world.gateway.running)), took_s=SHORT_S)
        world.ask()
    assert all(world.outcome(request) == "done" for request in queued)


def test_a_wide_lease_shrinks_when_it_is_renewed_and_not_needed() -> None:
    world = warm(SHORT_S)
    for _ in range(150):
        world.ask()
    finish_in_order(world, SHORT_S)
    world.gateway.report()
    wide = last_lease(world).slots
    for _ in range(2):
        world.advance(16.0)
        world.gateway.finish(world.ask(), took_s=SHORT_S)
        world.gateway.report()
    assert last_lease(world).slots < wide


def test_long_requests_are_taken_back_and_sent_in_their_order() -> None:
    world = warm(LONG_S)
    held = world.ask()
    crowd = [world.ask() for _ in range(5)]
    assert kinds(world.commands)[-1] == "revoke"
    world.gateway.finish(held, took_s=LONG_S)
    served = []
    while world.gateway.running:
        (request,) = world.gateway.running
        served.append(request)
        world.gateway.finish(request, took_s=LONG_S)
    assert served == crowd
    assert kinds(world.commands)[-1] == "lease", "lent again when nobody waits"


def test_a_worker_of_middling_requests_is_never_without_one() -> None:
    world = warm(MIDDLE_S)
    crowd = [world.ask() for _ in range(6)]
    finish_in_order(world, MIDDLE_S, 2)
    assert [world.outcome(request) for request in crowd[:2]] == ["done"] * 2, "the lease is back"
    while world.gateway.waiting:
        assert len(world.gateway.running) >= 2
        world.gateway.finish(next(iter(world.gateway.running)), took_s=MIDDLE_S)


def test_a_worker_that_is_never_idle_is_lent_all_the_same() -> None:
    """Requests that came by the controller keep it busy; the next ones need not."""
    world = World()
    world.deploy(spec())
    crowd = [world.ask() for _ in range(8)]
    world.engine.answer_all()
    for request in crowd[:7]:
        world.gateway.finish(request, took_s=SHORT_S)
    assert crowd[7] in world.gateway.running
    assert kinds(world.commands)[-1] == "lease"
    before = len(world.events)
    assert world.ask() in world.gateway.running
    assert len(world.events) == before


def test_what_runs_at_once_is_sent_at_once() -> None:
    world = World()
    world.deploy(spec(target_concurrency=3))
    crowd = [world.ask() for _ in range(5)]
    world.engine.answer_all()
    assert list(world.gateway.running) == crowd[:3]
    world.gateway.finish(crowd[0], took_s=LONG_S)
    assert list(world.gateway.running) == crowd[1:4]


def test_another_gateway_is_served_beside_the_lease() -> None:
    world = warm(SHORT_S, gateways=2)
    world.ask()
    before = len(world.commands)
    other = world.ask(gateway="g1")
    assert other in world.gateways[GatewayId("g1")].running
    assert kinds(world.commands[before:]) == ["dispatch"]


def test_a_draining_worker_finishes_what_it_has_leased_and_bound() -> None:
    world = warm(SHORT_S, gateways=2)
    leased, bound = world.ask(), world.ask(gateway="g1")
    world.post(ScaleRequested(F, 0))
    assert kinds(world.commands)[-1] == "revoke"
    world.gateway.finish(leased)
    assert "descend instance" not in kinds(world.commands)
    world.gateways[GatewayId("g1")].finish(bound)
    assert kinds(world.commands)[-1] == "descend instance"


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
