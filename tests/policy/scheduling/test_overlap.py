"""Loads that overlap compute: schedules worked out by hand. A load takes 3 s and a run 1 s."""

from __future__ import annotations

import pytest

from tests.policy.scheduling.ground import Ground, Model, runs

AB = {"a": Model(), "b": Model()}


@pytest.mark.parametrize("policy", ["lb-overlap", "lalb-overlap", "lalb-o3-overlap", "mqfq-sticky"])
def test_a_device_loads_ahead_while_it_computes(policy: str) -> None:
    ground = Ground(policy, room=2, models=AB)
    assert ground.play((1, "a"), (4.5, "b")) == [
        (1, "load", "a", "d0"),
        (4, "run", "a", "d0"),
        (4.5, "load", "b", "d0"),
        (7.5, "run", "b", "d0"),
    ]


@pytest.mark.parametrize("policy", ["lb", "lalb", "lalb-o3"])
def test_the_published_ones_do_not(policy: str) -> None:
    ground = Ground(policy, room=2, models=AB)
    assert (5, "load", "b", "d0") in ground.play((1, "a"), (4.5, "b"))


@pytest.mark.parametrize("policy", ["lalb-overlap", "lalb-o3-overlap", "mqfq-sticky"])
def test_a_device_that_loads_serves_whose_model_it_has(policy: str) -> None:
    ground = Ground(policy, room=2, models=AB)
    began = ground.play((1, "a"), (4.5, "b"), (5.5, "a"))
    assert began[2:] == [(4.5, "load", "b", "d0"), (5.5, "run", "a", "d0"), (7.5, "run", "b", "d0")]


def test_what_runs_is_never_evicted_for_what_loads_beside_it() -> None:
    ground = Ground("lalb-overlap", room=1, models=AB)
    began = ground.play((1, "a"), (4.5, "b"))
    assert (5, "load", "b", "d0") in began, "there is room when a is done"


@pytest.mark.parametrize("policy", ["lb-overlap", "lalb-overlap", "lalb-o3-overlap"])
def test_one_is_taken_ahead_and_no_more(policy: str) -> None:
    models = {**AB, "c": Model()}
    ground = Ground(policy, room=3, models=models)
    began = ground.play((1, "a"), (4.2, "b"), (4.3, "c"))
    assert (4.2, "load", "b", "d0") in began
    assert next(at_s for at_s, what, name, _ in began if (what, name) == ("load", "c")) >= 7.2


def test_in_order_who_could_be_served_without_a_load_is_left_for_later() -> None:
    """b waits for the device that computes a; it is a hit there, so it is not bound ahead of its turn."""
    ground = Ground("lalb-overlap", room=2, devices=2, models=AB)
    began = ground.play((1, "a"), (1, "b"), (10, "a"), (10, "b"), (10.2, "a"), (10.2, "b"))
    assert runs(began[4:]) == "abab"
    assert {device for _, _, name, device in began if name == "a"} == {"d0"}


def test_lalb_o3_overlap_loads_ahead_only_what_no_device_has() -> None:
    """Both devices compute; c lies nowhere and is loaded at once, past the head, whose model device 0 has."""
    models = {**AB, "c": Model(), "d": Model()}
    ground = Ground("lalb-o3-overlap", room=2, devices=2, models=models)
    began = ground.play((1, "a"), (1, "b"), (10, "a"), (10, "b"), (10.2, "a"), (10.3, "c"))
    assert (10.3, "load", "c", "d0") in began or (10.3, "load", "c", "d1") in began
    assert not [1 for at_s, what, name, _ in began if what == "load" and name == "a" and at_s > 5]
