"""A worker that runs several long requests at once: who waits gets the first slot that is free, while another
request still runs for long."""

from __future__ import annotations

from random import Random

import pytest

from glowplug.core.ids import GatewayId
from tests.control.leased import LONG_S, last_lease, warm
from tests.control.world import World, kinds, spec

AT_ONCE = 4


def several(**declared: object) -> World:
    """One worker that runs four at once, lent with all of its slots."""
    world = warm(LONG_S, target_concurrency=AT_ONCE, **declared)
    assert last_lease(world).slots == AT_ONCE
    return world


def running(world: World) -> int:
    return sum(len(gateway.running) for gateway in world.gateways.values())


def waiting(world: World) -> int:
    return sum(len(gateway.waiting) for gateway in world.gateways.values())


def test_a_slot_that_is_free_under_a_lease_called_back_is_used_at_once() -> None:
    world = several()
    long, *short = (world.ask() for _ in range(AT_ONCE))
    late = [world.ask() for _ in range(3)]
    assert kinds(world.commands)[-1] == "revoke"
    for over, begun in zip(short, late, strict=True):
        assert begun in world.gateway.waiting
        world.gateway.finish(over, took_s=LONG_S)
        assert begun in world.gateway.running
    assert running(world) == AT_ONCE
    for request in late:
        world.gateway.finish(request, took_s=LONG_S)
    assert world.ask() in world.gateway.running, "and so are those of later ones"
    world.gateway.finish(long, took_s=8.0)
    world.engine.answer_all()
    assert not waiting(world)


def test_slots_that_are_free_when_it_is_called_back_are_the_controllers_at_once() -> None:
    world = warm(LONG_S, gateways=2, target_concurrency=AT_ONCE)
    world.ask()
    world.advance(5.0)
    others = [world.ask(gateway="g1") for _ in range(5)]
    assert list(world.gateways[GatewayId("g1")].running) == others[:3]
    assert running(world) == AT_ONCE


def test_slots_that_were_not_lent_are_used_though_nobody_has_told_anything() -> None:
    """A lease beside requests that the controller sent has the rest of the slots, until its next report."""
    world = World()
    world.deploy(spec(target_concurrency=AT_ONCE))
    cold = [world.ask() for _ in range(AT_ONCE)]
    world.engine.answer_all()
    for request in cold:
        world.gateway.finish(request, took_s=0.5)
    assert last_lease(world).slots < AT_ONCE
    long = [world.ask() for _ in range(2)]
    assert world.ask() in world.gateway.running
    assert set(long) <= set(world.gateway.running)
    assert "revoke" not in kinds(world.commands)


def test_a_lease_beside_requests_has_only_the_slots_that_they_leave() -> None:
    world = World()
    world.deploy(spec(target_concurrency=AT_ONCE))
    cold = [world.ask() for _ in range(AT_ONCE)]
    world.engine.answer_all()
    world.gateway.finish(cold[0], took_s=LONG_S)
    assert last_lease(world).slots == 1
    world.ask()
    assert world.ask() in world.gateway.waiting


def test_one_slot_is_called_back_and_nothing_is_told_before_it_is_free() -> None:
    world = warm(LONG_S)
    held = world.ask()
    world.ask()
    before = len(world.events)
    assert kinds(world.commands)[-1] == "revoke"
    world.gateway.finish(held, took_s=LONG_S)
    assert [type(event).__name__ for _, event in world.events[before:]] == ["LeaseReport"]


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
@pytest.mark.parametrize("gateways", [1, 2])
@pytest.mark.parametrize("seed", range(10))
def test_no_slot_is_free_while_a_request_waits_and_none_has_two(
    seed: int, gateways: int, at_once: int
) -> None:
    random = Random(seed)
    world = warm(LONG_S, gateways=gateways, target_concurrency=at_once, timeout_s=1e6)
    names = list(world.gateways)
    for _ in range(300):
        gateway = world.gateways[random.choice(names)]
        act = random.random()
        if act < 0.45 and waiting(world) < 6:
            world.ask(gateway=str(gateway.name), timeout_s=1e6)
        elif act < 0.85 and gateway.running:
            gateway.finish(random.choice(list(gateway.running)), took_s=random.choice((0.1, 0.3, 8.0)))
        elif act < 0.9:
            gateway.report()
        else:
            world.advance(random.choice((0.05, 0.5, 10.0)))
            for each in world.gateways.values():
                each.report()
        assert running(world) <= at_once
        assert running(world) == at_once or not waiting(world)
