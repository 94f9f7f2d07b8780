"""ladder is asked on at its next turn where it was not asked to the end."""

from __future__ import annotations

from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.policy.preload import Drop, Quantile
from glowplug.policy.preload.ladder import Ladder

F = FunctionId("f")


class View:
    """Loads of a second, of functions that come every ten seconds and of which nothing is worth holding."""

    horizon_s = 4.0
    byte_price = 1.0
    loads_uncalled = True

    def __init__(self, *unused: int) -> None:
        self.there = [InstanceId(number) for number in unused]

    def unused(self, function: FunctionId) -> tuple[InstanceId, ...]:
        return tuple(self.there)

    def staged_ahead(self, function: FunctionId) -> tuple[NodeId, ...]:
        return ()

    def may_load(self, function: FunctionId) -> bool:
        return True

    def ready(self, function: FunctionId) -> int:
        return 1

    def load_s(self, function: FunctionId) -> float:
        return 1.0

    def waits_s(self, function: FunctionId) -> float:
        return 1.0

    def guest_bytes(self, function: FunctionId) -> int:
        return 1

    def needed(self, function: FunctionId, from_s: float, until_s: float) -> float:
        return 0.0

    def quantiles(self, function: FunctionId, near_s: float) -> Quantile:
        return lambda share, beyond_s=0.0: 10.0 + share


def test_copies_that_were_not_dropped_yet_are_so_when_it_is_asked_again() -> None:
    policy, view = Ladder(), View(1, 2, 3)
    policy.arrived(view, F, 0.0)
    now_s = policy.next_s()
    for number in (1, 2, 3):
        assert policy.next_s() <= now_s
        decision = next(policy.decide(view, now_s))
        assert decision == Drop(InstanceId(number))
        view.there.remove(decision.instance)
    assert not list(policy.decide(view, now_s))
    assert policy.next_s() > now_s


def test_what_cannot_be_dropped_is_not_tried_for_ever() -> None:
    policy, view = Ladder(), View(1)
    policy.arrived(view, F, 0.0)
    now_s = policy.next_s()
    assert list(policy.decide(view, now_s)) == [Drop(InstanceId(1))]
    assert policy.next_s() > now_s


def test_a_function_that_is_deployed_again_is_not_looked_at_as_it_was_before() -> None:
    policy, view = Ladder(), View()
    policy.introduced(view, F, 0.0)
    policy.arrived(view, F, 1.0)
    before_s = policy.next_s()
    policy.forget(F)
    policy.introduced(view, F, 2.0)
    assert policy.next_s() == 2.0 + view.horizon_s
    policy.arrived(view, F, 3.0)
    assert policy.next_s() == before_s + 2.0
