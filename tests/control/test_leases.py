from __future__ import annotations

import pytest

from glowplug.control.leases import LeaseTable
from glowplug.core.commands import Lease
from glowplug.core.events import ScaleRequested
from glowplug.core.ids import CommandId, FunctionId, GatewayId, InstanceId
from glowplug.core.ladder import Step
from tests.control.world import SETTINGS, World, kinds, spec

F = FunctionId("f.default")


def lease(instance: int, expires_s: float, slots: int = 1) -> Lease:
    return Lease(CommandId(1), GatewayId("g"), F, InstanceId(instance), slots, expires_s)


@pytest.fixture
def table() -> LeaseTable:
    return LeaseTable(GatewayId("g"))


def test_a_slot_is_taken_once(table: LeaseTable) -> None:
    table.grant(lease(1, 30.0), 0.0)
    assert table.take(F, 1.0) == 1
    assert table.take(F, 1.0) is None
    table.done(InstanceId(1), True, 0.1, 1.1)
    assert table.take(F, 1.2) == 1


def test_slots_are_counted(table: LeaseTable) -> None:
    table.grant(lease(1, 30.0, slots=2), 0.0)
    assert [table.take(F, 1.0) for _ in range(3)] == [1, 1, None]
    assert table.in_flight() == 2


def test_the_least_busy_worker_is_taken(table: LeaseTable) -> None:
    table.grant(lease(1, 30.0, slots=3), 0.0)
    assert [table.take(F, 1.0) for _ in range(2)] == [1, 1]
    table.grant(lease(2, 30.0, slots=3), 1.0)
    assert [table.take(F, 1.0) for _ in range(3)] == [2, 2, 1]
    table.done(InstanceId(1), True, 0.1, 1.1)
    assert {table.take(F, 1.2) for _ in range(2)} == {1, 2}
    assert table.take(F, 1.2) is None


def test_an_expired_lease_is_not_used_but_given_back(table: LeaseTable) -> None:
    table.grant(lease(1, 30.0), 0.0)
    assert table.take(F, 30.0) is None
    (report,) = table.reports(30.0)
    assert report.final
    assert table.held() == 0


def test_a_renewed_lease_lives_on(table: LeaseTable) -> None:
    table.grant(lease(1, 30.0), 0.0)
    table.grant(lease(1, 50.0), 20.0)
    assert table.reports(31.0) == []
    assert table.take(F, 31.0) == 1


def test_a_revoked_lease_is_final_when_nothing_runs(table: LeaseTable) -> None:
    table.grant(lease(1, 30.0), 0.0)
    table.take(F, 1.0)
    assert not table.revoke(InstanceId(1))
    (running,) = table.reports(1.5)
    assert not running.final
    assert table.done(InstanceId(1), False, 0.5, 2.0), "due at once"
    (report,) = table.reports(2.0)
    assert report.final
    assert (report.done, report.failed, report.in_flight) == (0, 1, 0)


def test_nobody_is_sent_behind_what_does_not_move(table: LeaseTable) -> None:
    for instance, at_once in ((1, 1), (2, 2)):
        table.grant(Lease(CommandId(1), GatewayId("g"), F, InstanceId(instance), 3, 99.0, at_once, 0.5), 0.0)
    assert [table.take(F, 1.0) for _ in range(3)] == [1, 2, 1]
    assert table.take(F, 1.6) == 2, "the other still has a place to run"
    assert table.take(F, 1.6) is None
    assert {report.instance: report.stuck for report in table.reports(1.6)} == {1: True, 2: True}
    table.done(InstanceId(2), True, 0.6, 1.7)
    assert table.take(F, 1.8) == 2, "it moves again"


def test_reports_tell_only_news(table: LeaseTable) -> None:
    table.grant(lease(1, 30.0), 0.0)
    table.take(F, 1.0)
    table.done(InstanceId(1), True, 0.25, 1.25)
    (report,) = table.reports(1.3)
    assert (report.done, report.busy_s, report.last_s) == (1, 0.25, 1.25)
    assert table.reports(1.4) == []


def test_a_long_request_keeps_its_lease_alive(table: LeaseTable) -> None:
    table.grant(lease(1, 30.0), 0.0)
    table.take(F, 1.0)
    table.reports(1.1)
    assert table.reports(10.0) == []
    (report,) = table.reports(16.0)
    assert (report.in_flight, report.final) == (1, False)


def test_a_lost_instance_is_forgotten(table: LeaseTable) -> None:
    table.grant(lease(1, 30.0), 0.0)
    table.take(F, 1.0)
    table.lost(InstanceId(1))
    assert table.take(F, 1.0) is None
    assert table.in_flight() == table.held() == 0
    assert table.reports(2.0) == []


def test_after_an_answer_the_instance_is_lent_and_the_next_request_needs_no_decision() -> None:
    world = World()
    world.parked(spec())
    assert kinds(world.commands)[-1] == "lease"
    before = len(world.events)
    request = world.ask()
    assert request in world.gateway.running
    world.gateway.finish(request)
    assert len(world.events) == before
    world.gateway.report()
    function = world.state.functions[F]
    assert (function.arrived, function.done) == (2, 2)


def test_a_request_from_elsewhere_calls_the_lease_back() -> None:
    world = World(gateways=2)
    world.parked(spec())
    held = world.ask()
    other = world.ask(gateway="g1")
    assert kinds(world.commands)[-1] == "revoke"
    world.gateway.finish(held)
    assert other in world.gateways[GatewayId("g1")].running


def test_reporting_renews_past_half_its_life() -> None:
    world = World()
    world.parked(spec())
    for wait_s, leases in ((SETTINGS.lease_s / 2 - 1, 1), (2.0, 2)):
        world.advance(wait_s)
        world.gateway.finish(world.ask())
        world.gateway.report()
        assert kinds(world.commands).count("lease") == leases


def test_an_instance_that_is_used_under_its_lease_stays_warm() -> None:
    world = World()
    world.parked(spec(keep_warm_s=20.0))
    for _ in range(10):
        world.advance(10.0)
        world.gateway.finish(world.ask())
        world.gateway.report()
    assert world.standing() == Step.PARKED
    world.advance(31.0)
    world.gateway.report()
    world.engine.answer_all()
    assert world.standing() == Step.IMPORTED


def test_a_gateway_that_falls_silent_costs_the_instance() -> None:
    world = World()
    world.parked(spec(keep_warm_s=1000.0))
    world.gateway.leases.lost(InstanceId(1))
    world.advance(2 * SETTINGS.lease_s + 1)
    assert kinds(world.commands)[-1] == "descend instance"


def test_scaling_to_zero_takes_a_lent_instance_back() -> None:
    world = World()
    world.parked(spec())
    world.post(ScaleRequested(F, 0))
    assert kinds(world.commands)[-2:] == ["revoke", "descend instance"]
