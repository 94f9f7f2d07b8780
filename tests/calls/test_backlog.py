"""Whose turn it is."""

from __future__ import annotations

from glowplug.calls.backlog import Backlog, Entry
from glowplug.core.calls import CallId


def entry(name: str, lane: str = "a", due_s: float = 0.0, priority: int = 0, size_bytes: int = 1) -> Entry:
    return Entry(CallId(name), lane, due_s, priority, size_bytes)


def taken(backlog: Backlog, now_s: float = 0.0) -> list[str]:
    found = backlog.take(now_s)
    backlog.validate()
    return [each.call for each in found]


def test_what_is_due_first_goes_first_and_what_is_not_due_waits() -> None:
    backlog = Backlog(10, lambda lane: 10, 100)
    for each in (entry("late", due_s=9), entry("b", due_s=2), entry("a", due_s=1)):
        backlog.add(each)
    assert backlog.next_due_s == 1
    assert taken(backlog, 5) == ["a", "b"]
    assert (taken(backlog, 5), backlog.next_due_s, len(backlog)) == ([], 9, 1)
    assert taken(backlog, 9) == ["late"]


def test_a_higher_priority_goes_first() -> None:
    backlog = Backlog(1, lambda lane: 1, 100)
    backlog.add(entry("old", due_s=0))
    backlog.add(entry("urgent", due_s=1, priority=5))
    assert taken(backlog, 2) == ["urgent"]


def test_lanes_take_turns_and_none_takes_all() -> None:
    backlog = Backlog(4, lambda lane: 2, 100)
    for number in range(5):
        backlog.add(entry(f"a{number}", "a"))
    backlog.add(entry("b0", "b"))
    assert taken(backlog) == ["a0", "b0", "a1"]
    backlog.release(entry("a0", "a"))
    assert taken(backlog) == ["a2"]


def test_room_that_changes_is_used_from_the_next_turn_on() -> None:
    room = 2
    backlog = Backlog(9, lambda lane: room, 100)
    for number in range(9):
        backlog.add(entry(f"{number}"))
    assert taken(backlog) == ["0", "1"]
    room = 1
    backlog.release(entry("0"))
    assert taken(backlog) == []
    backlog.release(entry("1"))
    assert taken(backlog) == ["2"]
    room = 3
    backlog.release(entry("2"))
    assert taken(backlog) == ["3", "4", "5"]


def test_big_ones_run_alone_rather_than_not() -> None:
    backlog = Backlog(4, lambda lane: 4, 10)
    backlog.add(entry("big", size_bytes=50))
    backlog.add(entry("small", size_bytes=1, due_s=0.5))
    assert taken(backlog, 1) == ["big"]
    backlog.release(entry("big", size_bytes=50))
    assert taken(backlog, 1) == ["small"]


def test_what_was_discarded_or_replaced_does_not_come() -> None:
    backlog = Backlog(4, lambda lane: 4, 10)
    backlog.add(entry("gone"))
    backlog.add(entry("moved"))
    backlog.discard(CallId("gone"))
    backlog.add(entry("moved", due_s=5))
    assert taken(backlog, 1) == []
    assert taken(backlog, 5) == ["moved"]


def test_what_is_added_while_it_runs_comes_after() -> None:
    backlog = Backlog(4, lambda lane: 4, 10)
    backlog.add(entry("a"))
    (first,) = backlog.take(0)
    backlog.add(entry("a", due_s=1))
    assert taken(backlog, 2) == []
    backlog.release(first)
    assert taken(backlog, 2) == ["a"]
