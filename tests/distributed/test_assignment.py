"""Plans as assignments: each row of each sample is computed once, and orders follow from it."""

from __future__ import annotations

import numpy as np
import pytest

from glowplug.core.errors import InvalidArguments
from glowplug.distributed import assignment
from glowplug.distributed.assignment import Assignment
from glowplug.distributed.orders import FIRST, lines_of
from glowplug.distributed.partition.baselines import block
from glowplug.distributed.partition.result import Settings
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.policy.plans.spread import Cut

NETWORK = ChallengeNetwork(1024, 12)


def times_computed(spread: Assignment, samples: int) -> np.ndarray:
    """(layers, rows, samples)"""
    found = np.zeros((NETWORK.layers, 1024, samples), int)
    for share in spread.shares:
        partition = spread.partitions[share.partition]
        assert len(share.members) == partition.workers
        assert max(share.members) < spread.workers
        found[:, :, share.first : share.end] += 1
    return found


@pytest.mark.parametrize(
    "spread",
    [
        assignment.serial(NETWORK, 10),
        assignment.replicas(NETWORK, 10, 3),
        assignment.pipeline(NETWORK, 10, (2, 7), 4),
        assignment.rows(10, block(NETWORK, Settings(4))),
        assignment.rows(10, block(NETWORK, Settings(2)), 3),
        assignment.of_cut(NETWORK, 10, Cut(replicas=2, stages=(4,), micro_batches=3), lambda workers: None),
        assignment.of_cut(NETWORK, 10, Cut(replicas=2, rows=3), lambda rows: block(NETWORK, Settings(rows))),
    ],
    ids=["serial", "replicas", "pipeline", "rows", "hybrid", "cut in stages", "cut by rows"],
)
def test_everything_is_computed_once(spread: Assignment) -> None:
    assert (times_computed(spread, 10) == 1).all()
    assert {worker for share in spread.shares for worker in share.members} == set(range(spread.workers))


@pytest.mark.parametrize(
    ("stages", "cuts"), [(1, ()), (3, (4, 8)), (5, (3, 5, 8, 10)), (12, tuple(range(1, 12)))]
)
def test_cuts_are_even(stages: int, cuts: tuple[int, ...]) -> None:
    assert assignment.even_cuts(NETWORK, stages) == cuts


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InvalidArguments, match="10 samples cannot be split into 11 replicas"):
        assignment.replicas(NETWORK, 10, 11)
    with pytest.raises(InvalidArguments, match="13 stages"):
        assignment.even_cuts(NETWORK, 13)
    with pytest.raises(InvalidArguments, match="cuts"):
        assignment.pipeline(NETWORK, 10, (5, 5), 2)
    with pytest.raises(InvalidArguments, match="0 micro_batches"):
        assignment.pipeline(NETWORK, 10, (5,), 0)


def test_one_share_is_checkpointed_within_many_between_them() -> None:
    one = assignment.rows(10, block(NETWORK, Settings(4))).shares
    assert lines_of(one, 12, 5) == (FIRST + 5, FIRST + 10)
    many = assignment.pipeline(NETWORK, 10, (4,), 6).shares
    assert lines_of(many, 12, 4) == (FIRST + 24, FIRST + 48)
    assert lines_of(many, 12, 0) == ()
    assert lines_of(many, 12, 0, window=2) == tuple(FIRST + 12 * share for share in range(1, 6))
