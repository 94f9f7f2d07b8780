"""How far objects are read at first."""

from __future__ import annotations

from glowplug.distributed.channels.reach import MARGIN, MOST_READ_BYTES, PAGE_BYTES, READ_BYTES, Reach


def test_nothing_is_known_at_first() -> None:
    assert Reach().first_bytes == READ_BYTES


def test_somewhat_further_than_the_furthest_part_of_the_last_two_layers() -> None:
    reach = Reach()
    for end in (int(4 * PAGE_BYTES / MARGIN) - 1, 10):
        reach.found(0, 50, end)
    assert reach.first_bytes == 4 * PAGE_BYTES
    reach.found(1, 50, 10)
    assert reach.first_bytes == 4 * PAGE_BYTES
    reach.found(2, 50, 10)
    assert reach.first_bytes == PAGE_BYTES


def test_of_a_part_that_lies_too_far_the_index_alone() -> None:
    reach = Reach()
    reach.found(0, 5000, MOST_READ_BYTES + 1)
    assert reach.first_bytes == 2 * PAGE_BYTES
    reach.found(0, 5000, MOST_READ_BYTES)
    assert reach.first_bytes == MARGIN * MOST_READ_BYTES
