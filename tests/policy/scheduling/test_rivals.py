"""mqfq-sticky and start-estimate."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.policy.scheduling.ground import Ground, Model, runs

AB = {"a": Model(), "b": Model()}


def test_flows_take_turns_when_both_are_there() -> None:
    """The first of a comes alone, so it is no debt of a's."""
    ground = Ground("mqfq-sticky", room=2, models=AB)
    ground.simulation.state.context.policies.scheduling.ahead_s = 0.0  # type: ignore[attr-defined]
    began = ground.play((1, "a"), (1, "b"), *[(20, "a")] * 3, *[(20, "b")] * 3)
    assert runs(began[4:]) == "a" + "abab" + "b"


def test_a_flow_stays_while_it_is_warm_until_it_is_too_far_ahead() -> None:
    """Room for one, and an allowance of 4 s. Both flows begin at 1; a is served from 1 to 5, b then from 1 to
    10, which is 4 beyond a's 6, and so on. What a was given before b came does not count against it."""
    ground = Ground("mqfq-sticky", room=1, models=AB)
    ground.simulation.state.context.policies.scheduling.ahead_s = 4.0  # type: ignore[attr-defined]
    order = runs(ground.play((1, "a"), *[(4.5, "a")] * 10, *[(4.5, "b")] * 12))
    assert order == "a" + "a" * 5 + "b" * 10 + "a" * 5 + "bb"


@pytest.mark.parametrize("devices", [1, 3])
def test_a_hog_starves_nobody(devices: int) -> None:
    """A flow with a hundred requests at once, and three that ask seldom: none of those waits for more than
    the allowance, the loads and its own share."""
    models = {"hog": Model(run_s=1.0), **{name: Model(run_s=1.0) for name in "xyz"}}
    ground = Ground("mqfq-sticky", devices=devices, room=4, models=models)
    meek = [(30.0 + 20 * n + i, name) for n in range(4) for i, name in enumerate("xyz")]
    ground.play(*[(1.0, "hog")] * 100 * devices, *meek)
    waits = [latency_s for name in "xyz" for latency_s in ground.latencies(name)]
    assert max(waits) <= 10.0 / devices + 3.0 + 3 * 1.0 + 1.0


def test_who_comes_back_cannot_claim_the_time_it_was_away() -> None:
    ground = Ground("mqfq-sticky", room=2, models=AB)
    ground.simulation.state.context.policies.scheduling.ahead_s = 0.0  # type: ignore[attr-defined]
    began = ground.play((1, "b"), *[(1, "a")] * 20, *[(19.5, "b")] * 6)
    late = runs([entry for entry in began if entry[0] >= 19.5])
    assert sorted(late[:2]) == ["a", "b"], "in turn, not six of b at once"


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.sampled_from("ab"), min_size=20, max_size=60), st.sampled_from([0.5, 1.0, 2.0]))
def test_two_flows_that_always_wait_are_served_alike(names: list[str], run_s: float) -> None:
    """While both have requests waiting, what one was given of the device is within the allowance and a run of
    what the other was."""
    ground = Ground(
        "mqfq-sticky", room=2, models={"a": Model(run_s=run_s), "b": Model(run_s=1.0)}, always_valid=False
    )
    order = runs(ground.play(*[(1.0, name) for name in "ab" + "".join(names)]))
    left = {name: order.count(name) for name in "ab"}
    given_s = {"a": 0.0, "b": 0.0}
    for name in order:
        left[name] -= 1
        given_s[name] += {"a": run_s, "b": 1.0}[name]
        if not min(left.values()):
            break
        assert abs(given_s["a"] - given_s["b"]) <= 10.0 + max(run_s, 1.0) + 1e-9


def test_start_estimate_weighs_the_queue_against_a_load() -> None:
    """At 10 s on device 0 after 0, 1, 2, 3 s, or on device 1 after a load of 3 s: four go to device 0, the
    fifth to the other; the sixth starts after 4 s on either."""
    ground = Ground("start-estimate", devices=2, room=2, models=AB)
    began = ground.play((1, "a"), *[(10, "a")] * 6)
    assert (10, "load", "a", "d1") in began
    assert ground.latencies("a") == [4.0, 1.0, 2.0, 3.0, 4.0, 4.0, 5.0]


def test_start_estimate_binds_at_once_and_does_not_change_its_mind() -> None:
    """The last two of a are bound to device 0 before their turn, though device 1 is idle by then."""
    ground = Ground(
        "start-estimate", devices=2, room=1, models={"a": Model(run_s=2.0), "b": Model(run_s=0.5)}
    )
    began = ground.play((1, "a"), (1, "b"), (10, "a"), (10.1, "b"), (11, "a"), (11.2, "a"))
    assert [device for _, what, name, device in began if (what, name) == ("run", "a")] == ["d0"] * 4
    assert ground.latencies("a") == [5.0, 2.0, 3.0, 4.8]
