"""Memory that is lent to one load after another."""

from __future__ import annotations

import gc
import threading

from glowplug.loader.arena import NO_ARENA, Arena

MIB = 2**20


def test_what_was_lent_comes_back_when_its_last_view_is_gone() -> None:
    arena = Arena(64 * MIB)
    view = arena.lend(3 * MIB)
    part = view[MIB : 2 * MIB]
    part[0] = 7
    del view
    gc.collect()
    assert arena.held_bytes == 0
    del part
    gc.collect()
    assert arena.held_bytes == 4 * MIB


def test_a_block_is_used_again() -> None:
    arena = Arena(64 * MIB)
    view = arena.lend(2 * MIB)
    view[5] = 99
    del view
    gc.collect()
    again = arena.lend(MIB)
    assert again[5] == 99
    assert again.nbytes == MIB


def test_the_smallest_block_that_is_large_enough_is_lent() -> None:
    arena = Arena(64 * MIB)
    arena.prepare(20 * MIB)
    arena.prepare(24 * MIB)
    small = arena.lend(19 * MIB)
    assert arena.held_bytes == 24 * MIB
    assert small.nbytes == 19 * MIB


def test_a_block_that_is_far_too_large_is_not_lent() -> None:
    arena = Arena(64 * MIB)
    arena.prepare(40 * MIB)
    small = arena.lend(4 * MIB)
    assert small.nbytes == 4 * MIB
    assert arena.held_bytes == 40 * MIB


def test_what_two_hold_does_not_overlap() -> None:
    arena = Arena(64 * MIB)
    one, other = arena.lend(MIB), arena.lend(MIB)
    one[:] = b"\1" * MIB
    other[:] = b"\2" * MIB
    assert bytes(one[:3]) == b"\1\1\1"


def test_no_more_is_kept_than_was_allowed() -> None:
    arena = Arena(8 * MIB)
    views = [arena.lend(4 * MIB) for _ in range(3)]
    del views
    gc.collect()
    assert arena.held_bytes <= 8 * MIB


def test_what_is_too_large_is_not_kept_and_does_not_push_others_out() -> None:
    arena = Arena(8 * MIB)
    arena.prepare(4 * MIB)
    arena.lend(10 * MIB)
    gc.collect()
    assert arena.held_bytes == 4 * MIB


def test_without_an_arena_memory_is_fresh() -> None:
    view = NO_ARENA.lend(MIB)
    assert not any(view[:4096])
    del view
    gc.collect()
    assert NO_ARENA.held_bytes == 0


def test_nothing_can_be_lent_too() -> None:
    assert Arena(MIB).lend(0).nbytes == 0


def test_threads_may_borrow_at_once() -> None:
    arena = Arena(64 * MIB)
    wrong: list[int] = []

    def borrow(mark: int) -> None:
        for _ in range(50):
            view = arena.lend(MIB)
            view[:64] = bytes([mark]) * 64
            if bytes(view[:64]) != bytes([mark]) * 64:
                wrong.append(mark)

    threads = [threading.Thread(target=borrow, args=(mark,)) for mark in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
