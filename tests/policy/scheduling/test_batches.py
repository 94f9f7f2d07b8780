from __future__ import annotations

from typing import Any

import pytest

from glowplug.core.commands import Dispatch
from tests.policy.scheduling.ground import Ground, Model

HALVES = {2: 1.2, 4: 1.6}
"""Two as one take 1.2 s, four 1.6, of which one takes 1."""


def sizes(*asks: tuple[float, str], devices: int = 1, **model: Any) -> list[tuple[float, int]]:
    """When each batch began, and how many it was; the model lies there from 1 s on."""
    changes = {"load_s": 1.0, "max_batch": 4, "latency_target_s": 5.0, "batch_s": HALVES, **model}
    ground = Ground(
        "finish-first", devices=devices, models={"a": Model(**changes)}, eviction="value-per-byte"
    )
    ground.play(*asks)
    log = ground.simulation.run([], 0.0).commands
    return [(round(at_s, 6), len(each.requests)) for at_s, each in log if isinstance(each, Dispatch)]


def test_without_a_target_requests_run_one_by_one() -> None:
    found = sizes(*((0.0, "a"),) * 4, latency_target_s=0.0)
    assert found == [(1.0, 1), (2.0, 1), (3.0, 1), (4.0, 1)]


def test_what_waits_runs_as_one_within_the_target() -> None:
    assert sizes(*((0.0, "a"),) * 6) == [(1.0, 4), (2.6, 2)]


def test_no_batch_makes_late_whoever_would_be_in_time() -> None:
    """At 1 s the target of 2.3 s leaves 1.3 for who came first: two as one take 1.2."""
    assert sizes(*((0.0, "a"),) * 4, latency_target_s=2.3)[0] == (1.0, 2)
    assert sizes(*((0.0, "a"),) * 4, latency_target_s=2.1)[0] == (1.0, 1)


def test_what_is_late_already_runs_in_the_largest_batches() -> None:
    assert sizes(*((0.0, "a"),) * 8, latency_target_s=1.5) == [(1.0, 4), (2.6, 4)]


def test_a_late_one_takes_along_only_as_many_as_stay_in_time() -> None:
    """The first was late when the model came; the others have until 2.3, as two, not as four."""
    found = sizes((0.0, "a"), *((0.8, "a"),) * 3, latency_target_s=1.5)
    assert found[0] == (1.0, 2)


def test_a_size_that_takes_longer_for_each_is_not_taken() -> None:
    found = sizes(*((0.0, "a"),) * 4, batch_s={2: 1.2, 4: 3.0}, latency_target_s=60.0)
    assert found == [(1.0, 2), (2.2, 2)]


def test_what_nobody_has_measured_is_tried_within_the_target() -> None:
    assert sizes(*((0.0, "a"),) * 3, batch_s={}, latency_target_s=60.0) == [(1.0, 3)]


def test_no_batch_takes_what_an_idle_device_could_begin() -> None:
    """Ten at once bring the model to both devices; later two requests run on one each."""
    found = sizes(*((0.0, "a"),) * 10, (60.0, "a"), (60.0, "a"), devices=2, max_batch=2)
    assert found[-2:] == [(60.0, 1), (60.0, 1)]


@pytest.mark.parametrize("target_s", [0.0, 5.0])
def test_a_copy_is_made_for_what_batches_leave_over(target_s: float) -> None:
    """Eight wait, one runs: one by one the last would begin 7 s later, in batches of four 1.6 s later, which
    a load of 3 s does not spare. The other device is full."""
    asks = [(0.0, "a"), (0.0, "b"), *((10.0, "a"),) * 8]
    ground = Ground(
        "finish-first", devices=2, eviction="value-per-byte",
        models={"a": Model(max_batch=4, latency_target_s=target_s, batch_s=HALVES), "b": Model()},
    )  # fmt: skip
    loads = [what for _, what, _, _ in ground.play(*asks)].count("load")
    assert loads == (2 if target_s else 3)
