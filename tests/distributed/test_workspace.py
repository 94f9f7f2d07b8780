"""The buffers of a worker: samples come and go, and what is there of them stays."""

from __future__ import annotations

import numpy as np

from glowplug.distributed.workspace import Workspace


def workspace(values: np.ndarray, height: int = 5) -> Workspace:
    work = Workspace(height, values.shape[1])
    work.open(values.shape[1])
    work.x[: len(values)] = values
    return work


def test_dead_samples_take_no_room() -> None:
    values = np.array([[1, 0, 0, 2], [0, 0, 3, 0]], np.float32)
    work = workspace(values)
    work.out[0] = [1, 0, 2, 3]
    work.drop_dead(2)
    assert work.x.shape == work.out.shape == (5, 3)
    assert np.array_equal(work.whole(work.x[:2]), values)
    assert np.array_equal(work.whole(work.out[:1]), [[1, 0, 2, 3]])


def test_a_sample_comes_back_with_what_is_sent_for_it() -> None:
    work = workspace(np.array([[1, 0, 0, 2]], np.float32))
    work.out[0] = [7, 0, 0, 8]
    work.drop_dead(1)
    columns = np.array([1])
    work.revive([columns], 1)
    work.x[1] = 0
    work.put(np.array([1]), columns, np.array([[5]], np.float32))
    assert np.array_equal(work.whole(work.x[:2]), [[1, 0, 0, 2], [0, 5, 0, 0]])
    assert np.array_equal(work.whole(work.out[:1]), [[7, 0, 0, 8]])


def test_what_is_sent_for_living_samples_changes_none() -> None:
    work = workspace(np.array([[1, 0, 0, 2]], np.float32))
    work.drop_dead(1)
    for columns in ([], [3], [0, 3]):
        work.revive([np.array(columns, np.int64)], 1)
        assert list(work.columns) == [0, 3]


def test_several_send_for_samples_at_once() -> None:
    work = workspace(np.array([[1, 0, 0, 0, 2, 0]], np.float32))
    work.drop_dead(1, keeps_out=False)
    columns = [np.array(each, np.int64) for each in ([1, 4], [], [0, 5])]
    work.revive(columns, 1, keeps_out=False)
    assert list(work.columns) == [0, 1, 4, 5]
    for row, some in enumerate(columns, 1):
        work.put(slice(row, row + 1), some, np.array([some + 1], np.float32))
    whole = [[1, 0, 0, 0, 2, 0], [0, 2, 0, 0, 5, 0], [0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 6]]
    assert np.array_equal(work.whole(work.x[:4]), whole)


def test_nearly_all_alive_is_not_worth_a_copy() -> None:
    values = np.ones((1, 100), np.float32)
    values[0, 3] = 0
    work = workspace(values)
    work.drop_dead(1)
    assert work.x.shape[1] == 100


def test_everything_may_die() -> None:
    work = workspace(np.zeros((2, 3), np.float32))
    work.drop_dead(2)
    work.turn()
    work.drop_dead(2)
    assert np.array_equal(work.whole(work.x[:2]), np.zeros((2, 3)))
    work.open(2)
    assert work.x.shape == (5, 2)
