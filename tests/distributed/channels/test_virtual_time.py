"""Tasks take turns in the order of their clocks, and time passes only where they wait."""

from __future__ import annotations

import threading

import pytest

from glowplug.distributed.channels.metered.virtual_time import VirtualTime
from glowplug.distributed.errors import Deadlock


def test_tasks_run_in_the_order_of_their_clocks() -> None:
    time = VirtualTime()
    seen: list[tuple[str, float]] = []

    def task(name: str, *pauses_s: float) -> None:
        for pause_s in pauses_s:
            time.sleep(pause_s)
            seen.append((name, time.now_s()))

    time.run([lambda: task("slow", 3, 3), lambda: task("quick", 1, 1, 1, 1)])
    assert seen == [("quick", 1), ("quick", 2), ("slow", 3), ("quick", 3), ("quick", 4), ("slow", 6)]


def test_a_gate_wakes_all_who_wait_and_the_others_time_out() -> None:
    time = VirtualTime()
    gate = time.gate()
    woken: list[tuple[bool, float]] = []

    def wait(timeout_s: float) -> None:
        woken.append((gate.wait(timeout_s), time.now_s()))

    def open_() -> None:
        time.sleep(2)
        gate.set()

    time.run([lambda: wait(1), lambda: wait(5), lambda: wait(9), open_])
    assert woken == [(False, 1), (True, 2), (True, 2)]
    assert gate.wait(0) is True


def test_what_a_task_raises_is_raised_and_the_others_end() -> None:
    time = VirtualTime()
    before = threading.active_count()
    ended: list[str] = []

    def waits() -> None:
        try:
            time.sleep(100)
        finally:
            ended.append("waits")

    def fails() -> None:
        time.sleep(1)
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        time.run([waits, fails])
    assert ended == ["waits"]
    assert time.now_s() == 1
    assert threading.active_count() <= before + 2


def test_all_wait_for_ever_is_a_deadlock() -> None:
    time = VirtualTime()
    never = time.gate()
    with pytest.raises(Deadlock, match="every worker waits"):
        time.run([lambda: _ignore(never.wait(float("inf"))), lambda: time.sleep(1)])
    time.run([lambda: time.sleep(1)])


def _ignore(_: object) -> None:
    pass


def test_what_was_spawned_goes_on_beside_and_ends_with_the_run() -> None:
    time = VirtualTime()
    ticks: list[float] = []

    def clock() -> None:
        while True:
            ticks.append(time.now_s())
            time.sleep(1)

    def work() -> None:
        time.spawn(clock)
        time.sleep(2.5)

    time.run([work])
    assert ticks == [0, 1, 2]


def test_without_run_the_caller_waits_itself() -> None:
    with VirtualTime() as time:
        happened: list[float] = []
        time.at(1, lambda: happened.append(time.now_s()))
        time.spawn(lambda: (time.sleep(2), happened.append(time.now_s()))[1])
        time.sleep(3)
        assert happened == [1, 2]
        assert time.now_s() == 3


def test_a_run_is_the_same_each_time() -> None:
    def once() -> list[tuple[int, float]]:
        time = VirtualTime()
        seen: list[tuple[int, float]] = []

        def task(number: int) -> None:
            for step in range(20):
                time.sleep((number * 7 + step * 3) % 5 / 10)
                seen.append((number, time.now_s()))

        time.run([lambda number=number: task(number) for number in range(9)])  # type: ignore[misc]
        return seen

    assert once() == once()
