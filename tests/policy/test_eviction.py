"""lru, greedy-dual, whom ladder looks at, and what copies change for value-per-byte."""

from __future__ import annotations

from collections.abc import Collection
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from glowplug.core.ids import DeviceId
from glowplug.policy.eviction import EvictionPolicy, Worth
from glowplug.policy.eviction.greedy_dual import GreedyDual
from glowplug.policy.eviction.ladder import Ladder
from glowplug.policy.eviction.lru import LeastRecentlyUsed
from glowplug.policy.eviction.value_per_byte import ValuePerByte
from glowplug.policy.registry import policy_class
from tests.policy.scheduling.ground import Ground, Model, function_of


def unchanged(key: str) -> float:
    raise AssertionError("what was offered is all that these ask")


def goes(policy: EvictionPolicy, need_bytes: int, node: str = "n") -> list[str]:
    keys = policy.victims(node, need_bytes, (), inf, unchanged)
    for key in keys:
        policy.evicted(key)
        policy.withdraw(key)
    return keys


def used(used_s: float, uses: float = 1.0, saved_s: float = 1.0, held_bytes: int = 100) -> Worth:
    return Worth(0.0, saved_s, held_bytes, used_s=used_s, uses=uses)


def test_lru_goes_by_the_last_use_not_by_the_last_offer() -> None:
    policy = LeastRecentlyUsed()
    policy.offer("early", "n", used(1.0, uses=50))
    policy.offer("late", "n", used(2.0))
    policy.offer("early", "n", used(1.0, uses=50))
    assert goes(policy, 150) == ["early", "late"]


def test_what_is_offered_twice_is_had_once() -> None:
    policy = LeastRecentlyUsed()
    policy.offer("same", "n", used(1.0))
    policy.offer("other", "n", used(1.0))
    policy.offer("same", "n", used(1.0))
    assert policy.victims("n", 300, (), inf, unchanged) == ["other", "same"]
    assert policy.victims("n", 200, ("other",), inf, unchanged) == ["same"]
    assert goes(policy, 100) == ["other"]
    assert goes(policy, 200) == ["same"]


def test_the_worthiest_that_are_not_needed_are_spared() -> None:
    policy = LeastRecentlyUsed()
    for used_s, held_bytes in enumerate((10, 10, 100, 10)):
        policy.offer(f"{used_s}", "n", used(float(used_s), held_bytes=held_bytes))
    assert goes(policy, 105) == ["0", "2"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3), st.integers(0, 250)), max_size=60))
def test_whoever_has_to_go_is_the_same_however_often_somebody_asked(
    steps: list[tuple[str, int, int]],
) -> None:
    """`offered` has what is on offer as a plain table, which is sorted each time. A score of 0 withdraws."""
    policy, offered = LeastRecentlyUsed(), dict[str, float]()
    for key, score, need_bytes in steps:
        if score:
            policy.offer(key, "n", used(float(score)))
            offered[key] = float(score)
        else:
            policy.withdraw(key)
            offered.pop(key, None)
        ranked = [each for _, each in sorted((score, key) for key, score in offered.items())]
        for keep, limit in (((), inf), (("a",), inf), ((), 2.0)):
            free = [each for each in ranked if each not in keep and offered[each] < limit]
            assert policy.victims("n", need_bytes, keep, limit, unchanged) == free[: -(-need_bytes // 100)]


def test_greedy_dual_weighs_uses_and_cost_against_size() -> None:
    policy = GreedyDual()
    policy.offer("often", "n", used(1.0, uses=4))
    policy.offer("dear", "n", used(2.0, saved_s=3.0))
    policy.offer("small", "n", used(3.0, held_bytes=50))
    policy.offer("plain", "n", used(4.0))
    assert [goes(policy, 1)[0] for _ in range(4)] == ["plain", "small", "dear", "often"]


def test_greedy_dual_ages_what_is_not_used_again() -> None:
    """`old` was used three times, long ago. Each eviction lifts the clock by 1 / 100, and who is used after
    that stands on it: the fourth newcomer stands higher than `old`."""
    policy = GreedyDual()
    policy.offer("old", "n", used(0.0, uses=3))
    gone = []
    for number in range(5):
        policy.offer(f"new{number}", "n", used(10.0 + number))
        gone += goes(policy, 1)
    assert gone == ["new0", "new1", "new2", "old", "new3"]


def test_greedy_dual_takes_an_offer_again_for_no_use() -> None:
    policy = GreedyDual()
    policy.offer("a", "n", used(0.0))
    policy.offer("x", "n", used(0.0, uses=0.5, saved_s=0.5))
    assert goes(policy, 1) == ["x"]
    before = policy.offers["a"].score
    policy.offer("a", "n", used(0.0))
    assert policy.offers["a"].score == before
    policy.offer("a", "n", used(1.0))
    assert policy.offers["a"].score > before


def test_greedy_dual_has_a_clock_for_each_node() -> None:
    policy = GreedyDual()
    policy.offer("here", "n", used(0.0, uses=9))
    goes(policy, 1)
    policy.offer("new", "n", used(1.0))
    policy.offer("there", "m", used(1.0))
    assert policy.offers["new"].score == pytest.approx(0.10)
    assert policy.offers["there"].score == pytest.approx(0.01)


@pytest.mark.parametrize("name", ["greedy-dual", "ladder", "lru", "value-per-byte"])
def test_a_node_that_is_forgotten_leaves_nothing(name: str) -> None:
    policy = policy_class("eviction", name)()
    for node in ("n", "m"):
        for number in range(3):
            policy.offer(f"{node}{number}", node, used(float(number)))
        policy.victims(node, 150, (), inf, lambda key: 0.0)
        policy.evicted(f"{node}0")
    for number in range(3):
        policy.withdraw(f"n{number}")
    policy.forget("n")
    assert "n" not in {*policy.heaps, *policy.fronts, *policy.bytes_by_node, *getattr(policy, "clocks", ())}
    assert policy.offered("n") == 0
    assert policy.offered("m") == 300


@pytest.mark.parametrize("name", ["greedy-dual", "lru", "value-per-byte"])
def test_what_is_pinned_goes_last_and_leaves_no_trace(name: str) -> None:
    policy = policy_class("eviction", name)()
    policy.offer("pinned", "n", Worth(0.0, 1.0, 100, pinned=True, used_s=0.0))
    policy.offer("plain", "n", used(1e9, uses=100))
    assert policy.victims("n", 300, (), policy.pinned_from, unchanged) == ["plain"]
    assert goes(policy, 200) == ["plain", "pinned"]
    policy.offer("after", "n", used(2e9))
    assert policy.offers["after"].score < policy.pinned_from


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from(["offer", "withdraw", "need"])), max_size=60
    )
)
def test_what_is_offered_is_what_can_be_had(steps: list[tuple[str, str]]) -> None:
    for name in ("greedy-dual", "lru", "value-per-byte"):
        policy = policy_class("eviction", name)()
        held: dict[str, int] = {}
        for number, (key, what) in enumerate(steps):
            if what == "offer":
                held[key] = 100 + ord(key)
                policy.offer(key, "n", used(float(number), held_bytes=held[key]))
            elif what == "withdraw":
                held.pop(key, None)
                policy.withdraw(key)
            else:
                need_bytes = sum(held.values()) // 2
                for gone in goes(policy, need_bytes):
                    need_bytes -= held.pop(gone)
                assert need_bytes <= 0
            assert policy.offered("n") == sum(held.values())
            assert set(policy.keys()) == set(held)


def copies(count: int, at_once: float) -> float:
    return ValuePerByte().score(Worth(0.0, 1.0, 100, copies=count, at_once=at_once))


def test_a_copy_that_is_seldom_needed_beside_the_others_is_worth_less() -> None:
    assert copies(1, 0.1) == copies(1, 5.0)
    assert copies(2, 0.01) < copies(2, 0.1) < copies(2, 0.5) < copies(1, 0.5)
    assert copies(4, 0.5) < copies(3, 0.5) < copies(2, 0.5)
    assert copies(4, 4.0) == copies(1, 4.0), "as many as are at work, and some to spare"
    assert copies(20, 4.0) < copies(1, 4.0)
    assert -inf < copies(1000, 300.0) < copies(1000, 400.0)


@pytest.mark.parametrize("name", ["greedy-dual", "lru", "value-per-byte"])
def test_when_a_copy_goes_the_other_one_is_offered_anew(name: str) -> None:
    """Only value-per-byte counts copies; to the others an offer without a use changes nothing."""
    ground = Ground("lb", devices=2, room=1, models={"a": Model(), "b": Model()}, eviction=name)
    offers = ground.simulation.state.context.policies.device_eviction.offers  # type: ignore[attr-defined]
    ground.play((1, "a"), (10, "a"))
    (other,) = (key for key, offer in offers.items() if offer.node == "d1")
    before = offers[other].score
    ground.play((20, "b"))
    assert list(ground.simulation.state.context.store.fleet.where[function_of("a")]) == [DeviceId("d1")]
    assert (offers[other].score > before) == (name == "value-per-byte")
    assert (offers[other].score == before) == (name != "value-per-byte")


def crowd(count: int, pinned: int = 0) -> tuple[Ladder, list[str]]:
    """`count` holdings of 10 bytes, the later the number the later used; and whose score was asked for."""
    policy = Ladder()
    for number in reversed(range(count)):
        one = used(float(number), held_bytes=10)
        policy.offer(f"{number}", "n", replace(one, pinned=True) if number < pinned else one)
    return policy, []


def from_crowd(policy: Ladder, asked: list[str], need_bytes: int, keep: Collection[str] = ()) -> list[str]:
    """The even ones are worth half as much."""

    def current(key: str) -> float:
        asked.append(key)
        return float(1 + int(key) % 2)

    return policy.victims("n", need_bytes, keep, inf, current)


def test_of_what_nobody_is_known_to_need_the_least_seconds_a_byte_go_first() -> None:
    policy = Ladder()
    small, large = used(0.0, saved_s=0.1, held_bytes=100), used(0.0, saved_s=9.0, held_bytes=200)
    assert policy.score(small) < policy.score(large) < policy.score(replace(small, needed=1e-6))
    assert policy.score(replace(small, saved_s=0.0)) < policy.score(small)


def test_of_a_great_many_ladder_looks_at_those_that_were_used_the_longest_ago() -> None:
    policy, asked = crowd(5000)
    assert set(from_crowd(policy, asked, 30)) <= {f"{n}" for n in range(0, 500, 2)}
    assert len(asked) < 500
    assert from_crowd(policy, [], 30) == from_crowd(policy, [], 30), "to ask changes nothing"
    policy.offer("0", "n", used(9999.0, held_bytes=10))
    policy.withdraw("2")
    assert {"0", "2"}.isdisjoint(from_crowd(policy, [], 1000))


def test_ladder_looks_at_all_where_they_are_not_too_many() -> None:
    policy, asked = crowd(200)
    from_crowd(policy, asked, 10)
    assert sorted(asked) == sorted(f"{n}" for n in range(200))


def test_ladder_looks_at_more_until_they_are_enough() -> None:
    policy, asked = crowd(2000)
    found = from_crowd(policy, asked, 9_000, keep=("0",))
    assert len(found) == 900
    assert "0" not in found
    assert len(asked) == len(set(asked)), "each is scored once"
    assert len(from_crowd(policy, [], 10**9)) == 2000, "all that there are"


def test_ladder_looks_past_one_that_is_about_to_be_called() -> None:
    policy, asked = crowd(2000)

    def limited(key: str) -> float:
        asked.append(key)
        return 5.0 if key == "7" else -1.0

    found = policy.victims("n", 9_000, (), 1.0, limited)
    assert len(found) == 900
    assert "7" not in found
    assert len(asked) == len(set(asked)), "each is scored once"


def test_ladder_does_not_look_at_all_for_what_is_not_to_be_had() -> None:
    policy, asked = crowd(5000)

    def every_other(key: str) -> float:
        asked.append(key)
        return 5.0 if int(key) % 2 else -1.0

    assert policy.victims("n", 40_000, (), 1.0, every_other)
    assert len(asked) < 500


def test_ladder_does_not_go_on_where_more_looks_bring_nothing() -> None:
    policy, asked = crowd(20_000)

    def later_are_dear(key: str) -> float:
        asked.append(key)
        return 5.0 if int(key) >= 400 else -1.0

    assert len(policy.victims("n", 5_000, (), 1.0, later_are_dear)) == 400
    assert len(asked) < 5000


def test_what_is_pinned_is_not_looked_at_before_the_rest() -> None:
    policy, asked = crowd(2000, pinned=1000)
    from_crowd(policy, asked, 10)
    assert all(int(key) >= 1000 for key in asked)
