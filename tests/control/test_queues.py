from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from glowplug.control.queues import Queue
from glowplug.core.ids import RequestId
from glowplug.core.priority import PASSED_OVER, Priority

R = RequestId
ranks = st.sampled_from([int(one) for one in Priority])


def emptied(queue: Queue) -> list[int]:
    return [queue.take() for _ in range(len(queue))]


def test_higher_classes_go_first_and_each_in_its_order() -> None:
    queue = Queue()
    for number, rank in ((1, 1), (2, 3), (3, 2), (4, 3), (5, 2)):
        queue.add(R(number), rank)
    assert queue.rank == Priority.INTERACTIVE
    assert emptied(queue) == [2, 4, 3, 5, 1]
    assert (len(queue), queue.rank) == (0, 0)


def test_who_comes_back_is_the_first_of_its_class() -> None:
    queue = Queue()
    queue.add(R(1), 2)
    queue.add(R(2), 3)
    queue.add_first(R(3), 2)
    assert emptied(queue) == [2, 3, 1]


def test_a_class_that_was_passed_over_often_enough_has_its_turn() -> None:
    queue = Queue()
    queue.add(R(0), Priority.BATCH)
    queue.add(R(1), Priority.BACKGROUND)
    order = []
    for number in range(2, 60):
        queue.add(R(number), Priority.INTERACTIVE)
        order.append(queue.take())
    assert order.index(R(0)) == PASSED_OVER[Priority.BATCH]
    assert order.index(R(1)) == PASSED_OVER[Priority.BACKGROUND]
    assert len(queue) == 2


def test_who_is_lifted_is_the_first_of_its_new_class_and_the_next_begins_to_count_anew() -> None:
    queue = Queue()
    for number, rank in ((1, 1), (2, 1), (3, 3), (4, 3)):
        queue.add(R(number), rank)
    for _ in range(PASSED_OVER[Priority.BACKGROUND]):
        queue.pass_over(R(3), 3)
    assert queue.turn() == Priority.BACKGROUND
    queue.lift(R(1), 1, 3)
    assert queue.turn() == Priority.INTERACTIVE
    assert emptied(queue) == [1, 3, 4, 2]


def test_a_class_of_which_the_oldest_still_waits_is_passed_over_whoever_else_of_it_goes() -> None:
    queue = Queue()
    for number, rank in ((1, 2), (2, 2), (3, 3)):
        queue.add(R(number), rank)
    for _ in range(PASSED_OVER[Priority.BATCH]):
        queue.pass_over(R(3), 3)
        queue.pass_over(R(2), 2)
    assert queue.turn() == Priority.BATCH


def test_the_newest_of_the_lowest_class_is_the_first_to_go() -> None:
    queue = Queue()
    assert queue.newest_below(3) is None
    for number, rank in ((1, 2), (2, 3), (3, 2)):
        queue.add(R(number), rank)
    assert queue.newest_below(3) == 3
    assert queue.newest_below(2) is None, "not for its equal"


@given(st.lists(st.one_of(ranks, st.just(0)), max_size=400))
def test_nobody_waits_for_more_than_its_share_of_turns(moves: list[int]) -> None:
    """0 takes a turn, anything else joins. Turns between two of a waiting class are bounded."""
    queue, number = Queue(), 0
    rank_of: dict[int, int] = {}
    since = dict.fromkeys((1, 2, 3), 0)
    for rank in moves:
        if rank:
            number += 1
            rank_of[number] = rank
            if rank not in queue.lanes:
                since[rank] = 0
            queue.add(R(number), rank)
        elif queue:
            head = queue.head()
            taken = queue.take()
            assert taken == head
            for other in queue.lanes:
                since[other] = 0 if other == rank_of[taken] else since[other] + 1
                # A class below that had waited for its turn may take it first.
                assert since[other] <= PASSED_OVER[Priority(other)] + 3
    left = list(queue)
    assert sorted(emptied(queue)) == sorted(left)
