"""Several requests in one worker: under a lease, beside one, and without."""

from __future__ import annotations

from glowplug.control.capacity import MOST_SLOTS, overflow
from glowplug.core.commands import Revoke
from glowplug.core.events import ScaleRequested
from glowplug.core.ids import GatewayId
from tests.control.leased import LONG_S, MIDDLE_S, SHORT_S, F, dispatched, finish_in_order, last_lease, warm
from tests.control.world import World, kinds, spec


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
    assert kinds(world.commands[before:]) == ["lease", "lease", "dispatch"], "its next need no decision"


def test_a_draining_worker_finishes_what_it_has_leased_and_bound() -> None:
    world = warm(SHORT_S, gateways=2)
    leased, bound = world.ask(), world.ask(gateway="g1")
    world.post(ScaleRequested(F, 0))
    assert kinds(world.commands)[-1] == "revoke"
    world.gateway.finish(leased)
    assert "descend instance" not in kinds(world.commands)
    world.gateways[GatewayId("g1")].finish(bound)
    assert kinds(world.commands)[-1] == "descend instance"
