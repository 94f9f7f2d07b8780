"""Several gateways that ask for one function: each is lent its part of the workers, or of one worker."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.control.records import Instance
from glowplug.core.commands import Lease, Revoke
from glowplug.core.events import ScaleRequested
from glowplug.core.ids import GatewayId, RequestId, VersionId
from tests.control.leased import LONG_S, SHORT_S, F, takes, warm
from tests.control.world import SETTINGS, World, kinds
from tests.depth import examples


def crew(workers: int, gateways: int, took_s: float = SHORT_S) -> World:
    """So many workers are up, and lent to the first gateway."""
    return warm(took_s, gateways, min_workers=workers, max_workers=workers)


def ask(world: World, gateway: int) -> tuple[RequestId, bool]:
    """Also whether it was sent without asking."""
    before = len(world.events)
    request = world.ask(gateway=f"g{gateway}")
    return request, len(world.events) == before


def answered(world: World, gateway: int, took_s: float = SHORT_S) -> bool:
    """One request there, and its answer. Whether it was sent without asking."""
    request, alone = ask(world, gateway)
    finish(world, gateway, request, took_s)
    return alone


def finish(world: World, gateway: int, request: RequestId, took_s: float = SHORT_S) -> None:
    world.gateways[GatewayId(f"g{gateway}")].finish(request, took_s=took_s)


def report(world: World) -> None:
    for gateway in world.gateways.values():
        gateway.report()


def instances(world: World) -> list[Instance]:
    return list(world.state.context.store.instances.values())


def held(world: World) -> dict[str, int]:
    """Instances lent to each gateway."""
    return dict(Counter(gateway for instance in instances(world) for gateway in instance.leases))


def slots(world: World) -> list[dict[str, int]]:
    return [{gateway: lease.slots for gateway, lease in each.leases.items()} for each in instances(world)]


def test_one_worker_is_lent_in_parts_to_all_who_ask() -> None:
    world = crew(1, 4)
    (whole,) = (lease["g0"] for lease in slots(world))
    for gateway in (1, 2, 3):
        assert not answered(world, gateway)
        assert answered(world, gateway)
    assert answered(world, 0), "whoever was first has its part as well"
    (parts,) = slots(world)
    assert set(parts.values()) == {whole // 4}


def test_many_workers_are_shared_evenly_and_none_is_taken_back() -> None:
    world = crew(8, 4)
    before = len(world.commands)
    assert held(world) == {"g0": 8}
    for gateway, due in ((1, 4), (2, 2), (3, 2)):
        answered(world, gateway)
        assert held(world)[f"g{gateway}"] == due
    assert max(len(instance.leases) for instance in instances(world)) == 2
    assert not any(isinstance(command, Revoke) for command in world.commands[before:])
    for _ in range(3):
        assert all(answered(world, gateway) for gateway in range(4))


def test_who_has_its_due_and_finds_it_full_gets_one_more_now_and_then() -> None:
    world = crew(4, 2)
    answered(world, 1)
    due = held(world)["g1"]
    for _ in range(500):
        ask(world, 1)
    assert held(world)["g1"] == due, "it was only just lent them"
    world.advance(0.05)
    ask(world, 1)
    assert held(world)["g1"] == due
    world.advance(0.6)
    ask(world, 1)
    assert held(world)["g1"] == due + 1


def test_what_a_gateway_does_not_use_ends_and_its_slots_are_the_others() -> None:
    world = crew(1, 2)
    whole = slots(world)[0]["g0"]
    answered(world, 1)
    assert slots(world)[0]["g0"] == whole // 2
    for _ in range(4):
        world.advance(SETTINGS.lease_s / 3)
        assert answered(world, 0)
        report(world)
    assert slots(world) == [{"g0": whole}]


def test_the_part_of_a_gateway_that_is_gone_comes_back() -> None:
    """As the server gives it back in its place."""
    world = crew(2, 2)
    whole = slots(world)[0]["g0"]
    answered(world, 1)
    report(world)
    gone = world.gateways[GatewayId("g1")]
    for instance in instances(world):
        gone.leases.revoke(instance.id)
    gone.report()
    for _ in range(len(instances(world))):
        answered(world, 0)
    for request in [ask(world, 0)[0] for _ in range(4)]:
        finish(world, 0, request)
    report(world)
    assert slots(world) == [{"g0": whole}, {"g0": whole}]


def test_a_gateway_that_falls_silent_costs_the_instance() -> None:
    world = crew(1, 2)
    answered(world, 1)
    (instance,) = instances(world)
    world.gateways[GatewayId("g1")].leases.lost(instance.id)
    for _ in range(5):
        world.advance(SETTINGS.lease_s / 3)
        assert answered(world, 0)
        world.gateway.report()
    assert "descend instance" not in kinds(world.commands)
    world.advance(SETTINGS.lease_s / 3 + 1)
    assert "descend instance" in kinds(world.commands)


def test_a_worker_that_goes_is_taken_back_from_all() -> None:
    world = crew(1, 2)
    answered(world, 1)
    first, second = ask(world, 0)[0], ask(world, 1)[0]
    world.post(ScaleRequested(F, 0))
    assert kinds(world.commands)[-2:] == ["revoke", "revoke"]
    finish(world, 0, first)
    assert "descend instance" not in kinds(world.commands)
    finish(world, 1, second)
    assert kinds(world.commands)[-1] == "descend instance"


def test_long_requests_are_shared_by_the_controller_in_their_order() -> None:
    world = crew(1, 2)
    answered(world, 1)
    for _ in range(30):
        takes(world, LONG_S)
    running = [ask(world, 0)[0], ask(world, 1)[0]]
    report(world)
    for _ in range(3):
        ask(world, 1)
    late = world.ask()
    for gateway, request in enumerate(running):
        finish(world, gateway, request, LONG_S)
    served = []
    for _ in range(500):
        busy = [(name, r) for name, gateway in world.gateways.items() for r in gateway.running]
        if not busy:
            break
        name, request = busy[0]
        served.append(request)
        world.gateways[name].finish(request, took_s=LONG_S)
        report(world)
    assert served[-1] == late


@pytest.mark.parametrize("gateways", [1, 2])
def test_one_gateway_of_several_is_as_one_alone(gateways: int) -> None:
    world = crew(3, gateways)
    for _ in range(300):
        world.ask()
    leases = [(c.instance, c.slots) for c in world.commands if isinstance(c, Lease)]
    alone = crew(3, 1)
    for _ in range(300):
        alone.ask()
    assert leases == [(c.instance, c.slots) for c in alone.commands if isinstance(c, Lease)]


def test_nobody_waits_for_a_lease_of_another_gateway_to_end() -> None:
    """Not even where it has so few slots that the controller's quarter of them is none."""
    world = crew(1, 2, 0.002)
    assert slots(world) == [{"g0": 2}]
    held_back = ask(world, 0)[0]
    request, alone = ask(world, 1)
    assert not alone
    assert request in world.gateways[GatewayId("g1")].running
    finish(world, 0, held_back, 0.002)


def test_a_crowd_at_one_gateway_leaves_the_others_their_parts() -> None:
    world = crew(1, 2, 0.002)
    answered(world, 1, 0.002)
    most = world.state.context.store.versions[VersionId("f-v1")].most_slots
    for _ in range(2 * most):
        ask(world, 0)
    assert slots(world)[0]["g0"] == most // 2
    assert answered(world, 1, 0.002)


deeds = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "crowd", "finish", "finish_all", "report", "wait", "sleep"]),
        st.integers(0, 3),
    ),
    max_size=60,
)


@settings(max_examples=examples(30), deadline=None)
@given(st.integers(1, 6), st.sampled_from([SHORT_S, 0.001, 0.004]), deeds)
def test_whoever_keeps_asking_needs_not_ask_and_nothing_moves_any_more(
    workers: int, took_s: float, before: list[tuple[str, int]]
) -> None:
    """Whatever was before: then all ask again and again, and after a while none asks the controller, no
    lease changes, and each has at least its due."""
    world = crew(workers, 4, took_s)
    for what, number in before:
        gateway = world.gateways[GatewayId(f"g{number}")]
        if what == "ask":
            ask(world, number)
        elif what == "crowd":
            for _ in range(40):
                ask(world, number)
        elif what == "finish" and gateway.running:
            gateway.finish(next(iter(gateway.running)), took_s=took_s)
        elif what == "finish_all":
            for request in list(gateway.running):
                gateway.finish(request, took_s=took_s)
        elif what == "report":
            gateway.report()
        elif what in ("wait", "sleep"):
            world.advance(0.3 if what == "wait" else SETTINGS.lease_s * 0.7)
            report(world)
    for _ in range(300):
        world.engine.answer_all()
        for gateway in world.gateways.values():
            for request in list(gateway.running):
                gateway.finish(request, took_s=took_s)
        report(world)
        if not any(gateway.waiting or gateway.running for gateway in world.gateways.values()):
            break
    assert not any(gateway.waiting for gateway in world.gateways.values())
    for _ in range(4):
        for number in range(4):
            answered(world, number, took_s)
        report(world)
    mark = len(world.commands)
    for _ in range(5):
        assert all(answered(world, number, took_s) for number in range(4)), slots(world)
        world.advance(0.05)
        report(world)
    assert set(kinds(world.commands[mark:])) <= {"lease"}, "at most renewed"
    found = held(world)
    live = world.state.context.store.versions[VersionId("f-v1")].live
    assert all(found[f"g{number}"] >= max(1, live // 4) for number in range(4)), found
