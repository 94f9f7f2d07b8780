"""The page in which a worker notes what it has begun."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from glowplug.transport.begun import KEPT, BegunPage, BegunReader


@pytest.fixture
def ends() -> Iterator[tuple[BegunPage, BegunReader]]:
    page = BegunPage()
    reader = BegunReader(os.dup(page.descriptor))
    yield page, reader
    reader.close()
    page.close()


def test_what_runs_is_there_however_much_begins_and_ends_meanwhile(
    ends: tuple[BegunPage, BegunReader],
) -> None:
    page, reader = ends
    assert reader.begun() == frozenset()
    page.add(1)
    for request in range(2, 3 * KEPT):
        page.add(request)
        page.done(request)
        begun = reader.begun()
        assert begun is not None
        assert {1, request} <= begun
    page.done(1)
    for request in range(3 * KEPT, 4 * KEPT):
        page.add(request)
    assert reader.begun() == frozenset(range(3 * KEPT, 4 * KEPT))


def test_what_is_over_stays_as_long_as_its_place_is_not_needed(ends: tuple[BegunPage, BegunReader]) -> None:
    page, reader = ends
    for request in range(1, 1 + KEPT):
        page.add(request)
    page.done(7)
    page.done(3)
    page.done(KEPT + 1)
    assert reader.begun() == frozenset(range(1, 1 + KEPT))
    page.add(KEPT + 1)
    assert reader.begun() == frozenset(range(1, 2 + KEPT)) - {7}, "what was over first goes first"
    page.add(KEPT + 2)
    page.add(KEPT + 3)
    assert reader.begun() == frozenset(range(2, 4 + KEPT)) - {3, 7}, "more than there is room for"
