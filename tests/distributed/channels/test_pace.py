"""When an object is asked for, by how late others were and by what a look costs."""

from __future__ import annotations

import pytest

from glowplug.distributed.channels.pace import FIRST_S, MOST, MOST_FREE, Pace, Role


def late_twice(pace: Pace) -> float:
    """How long it waits for a source's third object, when the two before were missing for a second."""
    for _ in range(2):
        expected = pace.expect(1, 0.0)
        pace.missed(expected, 1.0, 1.0)
        pace.found(expected, 1.1, learns=True)
    return pace.expect(1, 0.0).due_s


def longest_wait_s(pace: Pace) -> float:
    expected = pace.expect(1, 0.0)
    for _ in range(20):
        pace.missed(expected, 0.0, 0.0)
    return expected.due_s


def test_a_look_that_costs_a_call_waits_until_the_object_was_there_before() -> None:
    assert late_twice(Pace()) == pytest.approx(1.0)
    assert longest_wait_s(Pace()) == pytest.approx(MOST * FIRST_S)


def test_a_look_that_costs_none_is_made_at_once_and_often() -> None:
    assert late_twice(Pace(looks_are_calls=False)) == 0.0
    assert longest_wait_s(Pace(looks_are_calls=False)) == pytest.approx(MOST_FREE * FIRST_S)


def test_what_comes_later_is_looked_for_seldom_until_it_is_waited_for() -> None:
    pace = Pace()
    expected = pace.expect(1, 5.0, Role.LATER)
    assert expected.due_s == 5.0
    pace.missed(expected, 5.0, 5.0)
    assert expected.due_s > 5 + 3 * FIRST_S
    pace.resumed(expected, 6.0, Role.LAYER)
    assert expected.due_s == 6.0
    pace.missed(expected, 6.0, 6.0)
    assert expected.due_s == pytest.approx(6 + FIRST_S)


def test_a_note_may_be_there_and_an_answer_takes_its_time() -> None:
    pace = Pace()
    late_twice(pace)
    assert pace.expect(1, 5.0, Role.NOTE).due_s == 5.0
    assert pace.expect(1, 5.0, Role.ANSWER).due_s == 5 + FIRST_S
    assert Pace(looks_are_calls=False).expect(1, 5.0, Role.ANSWER).due_s == 5.0
