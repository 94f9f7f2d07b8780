"""What a gateway leaves behind when it dies, and that the controller is rid of all of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.control.engine import GatewayCommand
from glowplug.core.commands import Cancel, Dispatch, Lease, Reject
from glowplug.core.events import Event, LeaseReport, RequestArrived, RequestCancelled, RequestDone
from glowplug.core.ids import CommandId, FunctionId, GatewayId, InstanceId, RequestId
from glowplug.server.gateways.unfinished import Unfinished
from tests.control.world import World, spec
from tests.depth import examples

G, F, ONE = GatewayId("g1"), FunctionId("f.default"), InstanceId(1)
COMMAND = CommandId(1)


def asked(unfinished: Unfinished, *requests: int) -> None:
    for request in requests:
        unfinished.heard(RequestArrived(RequestId(request), F, G, 9.0, 0))


def sent(unfinished: Unfinished, *requests: int) -> None:
    unfinished.told(Dispatch(COMMAND, tuple(map(RequestId, requests)), ONE, G))


def ended(*requests: int) -> list[Event]:
    return [RequestDone(RequestId(request), ONE, ok=False, took_s=0.0) for request in requests]


def test_what_waits_is_taken_out_of_its_queue() -> None:
    unfinished = Unfinished(G)
    asked(unfinished, 3, 5, 7, 9)
    unfinished.heard(RequestCancelled(RequestId(5)))
    unfinished.told(Reject(COMMAND, RequestId(7), G, "queue_full", "no"))
    assert unfinished.cut_off({}) == [RequestCancelled(RequestId(3)), RequestCancelled(RequestId(9))]
    assert unfinished.buried({}) == []


def test_what_runs_is_stopped_and_what_might_yet_begin_keeps_its_place() -> None:
    unfinished = Unfinished(G)
    asked(unfinished, 3, 5, 7, 9)
    sent(unfinished, 3, 5, 7, 9)
    unfinished.heard(RequestDone(RequestId(9), ONE, ok=True, took_s=1.0))
    begun = {RequestId(3): ONE, RequestId(21): ONE}  # the latter under a lease
    assert unfinished.cut_off(begun) == [
        RequestCancelled(RequestId(3), ONE), RequestCancelled(RequestId(21), ONE), *ended(3),
    ]  # fmt: skip
    assert unfinished.buried({RequestId(5): ONE}) == [RequestCancelled(RequestId(5), ONE), *ended(5, 7)]


def test_what_was_cancelled_or_refused_keeps_its_place_until_its_worker_has_done_with_it() -> None:
    unfinished = Unfinished(G)
    asked(unfinished, 3, 5)
    sent(unfinished, 3, 5)
    unfinished.heard(RequestCancelled(RequestId(3), ONE))
    unfinished.told(Reject(COMMAND, RequestId(5), G, "deadline_passed", "no"))
    assert unfinished.cut_off({}) == []
    assert unfinished.buried({}) == ended(3, 5)


def test_what_waits_again_as_its_worker_ended_is_taken_out_of_its_queue() -> None:
    unfinished = Unfinished(G)
    asked(unfinished, 3, 5, 7, 9)
    sent(unfinished, 3, 5, 7, 9)
    unfinished.told(Reject(COMMAND, RequestId(5), G, "worker_died", "no"))
    unfinished.heard(RequestCancelled(RequestId(7), ONE))
    unfinished.told(Dispatch(COMMAND, (RequestId(9),), InstanceId(2), G))
    unfinished.ended(ONE)
    assert unfinished.cut_off({}) == [RequestCancelled(RequestId(3))]
    assert unfinished.buried({}) == [RequestDone(RequestId(9), InstanceId(2), ok=False, took_s=0.0)]


def test_leases_are_given_back_at_last() -> None:
    unfinished = Unfinished(G)
    for instance in (1, 2, 3):
        unfinished.told(Lease(COMMAND, G, F, InstanceId(instance), 1, 9.0))
    unfinished.heard(LeaseReport(G, InstanceId(2), done=1))
    unfinished.heard(LeaseReport(G, InstanceId(1), final=True))
    unfinished.ended(InstanceId(3))
    assert unfinished.cut_off({}) == []
    assert unfinished.buried({}) == [LeaseReport(G, InstanceId(2), final=True)]
    assert unfinished.buried({}) == []


def test_one_that_is_not_there_takes_nothing() -> None:
    unfinished = Unfinished(G)
    dispatch = Dispatch(COMMAND, (RequestId(3), RequestId(5)), ONE, G)
    assert unfinished.refused(dispatch) == ended(3, 5)
    lease = Lease(COMMAND, G, F, ONE, 1, 9.0)
    assert unfinished.refused(lease) == [LeaseReport(G, ONE, final=True)]
    assert unfinished.refused(Reject(COMMAND, RequestId(5), G, "queue_full", "no")) == []


class Doomed:
    """A world whose second gateway is watched, and dies."""

    def __init__(self) -> None:
        self.world = World(gateways=2)
        self.world.deploy(spec(max_workers=2, target_concurrency=2), spec("other", "1"))
        self.unfinished = Unfinished(G)
        self.gateway = self.world.gateways[G]
        emit, obey = self.gateway._emit, self.gateway.on_command

        def heard(event: Any) -> None:
            self.unfinished.heard(event)
            emit(event)

        def told(command: GatewayCommand) -> None:
            self.unfinished.told(command)
            obey(command)

        self.gateway._emit, self.gateway.on_command = heard, told  # type: ignore[method-assign]

    def do(self, what: str, number: int) -> None:
        world, name = self.world, f"g{number % 2}"
        gateway = world.gateways[GatewayId(name)]
        if what == "ask":
            world.ask("f" if number < 8 else "other", gateway=name)
        elif what == "finish" and gateway.running:
            gateway.finish(sorted(gateway.running)[number % len(gateway.running)])
        elif what == "report":
            gateway.report()
        elif what == "engine":
            world.engine.answer_all()
        elif what == "cancel" and gateway.waiting:
            gateway.cancel(min(gateway.waiting))
        elif what == "wait":
            world.advance(number / 4)

    def die(self, begun: set[int], between: list[tuple[str, int]], begun_late: set[int]) -> None:
        had = dict(sorted(self.gateway.running.items()))
        self.gateway.running.clear()
        self.gateway.on_command = self.unfinished.told  # type: ignore[method-assign]
        first = {request: where for index, (request, where) in enumerate(had.items()) if index in begun}
        late = {request: where for index, (request, where) in enumerate(had.items()) if index in begun_late}
        for event in self.unfinished.cut_off(first):
            self.world.post(event)
        for what, number in between:
            self.do(what, number * 2)
        instances = self.world.state.context.store.instances
        still = {request: where for request, where in (first | late).items() if where in instances}
        events = self.unfinished.buried(still)

        def refuse(command: GatewayCommand) -> None:
            for event in self.unfinished.refused(command):
                self.world.post(event)

        self.gateway.on_command = refuse  # type: ignore[method-assign]
        for event in events:
            self.world.post(event)


deeds = st.lists(
    st.tuples(
        st.sampled_from(
            ["ask", "ask", "ask", "finish", "finish", "report", "engine", "engine", "cancel", "wait"]
        ),
        st.integers(0, 9),
    ),
    max_size=30,
)
some = st.sets(st.integers(0, 5))


@settings(max_examples=examples(150))
@given(deeds, some, deeds, some)
def test_the_controller_is_rid_of_all_of_it(
    before: list[tuple[str, int]], begun: set[int], between: list[tuple[str, int]], begun_late: set[int]
) -> None:
    """And every request of the other is answered."""
    doomed = Doomed()
    world, store = doomed.world, doomed.world.state.context.store
    for what, number in before:
        doomed.do(what, number)
    doomed.die(begun, between, begun_late)
    assert not [
        request for request in store.requests.values() if request.gateway == G and not request.stopping
    ]
    assert not [i for i in store.instances.values() if G in i.leases]
    asked = [request.id for request in store.requests.values() if request.gateway != G]
    for _ in range(len(asked) + 2):
        world.engine.answer_all()
        for request in sorted(world.gateway.running):
            world.gateway.finish(request)
        world.gateway.report()
    assert all(world.gateway.outcomes.get(request) for request in asked)
    assert not store.requests


def test_what_was_begun_under_a_lease_is_cancelled_by_the_engine() -> None:
    doomed = Doomed()
    world = doomed.world
    world.ask(gateway="g1")
    world.engine.answer_all()
    for request in sorted(doomed.gateway.running):
        doomed.gateway.finish(request)
    leased = world.ask(gateway="g1")
    assert leased in doomed.gateway.running
    doomed.die({0}, [], set())
    assert [c.request for c in world.engine.submitted if isinstance(c, Cancel)][-1:] == [leased]
