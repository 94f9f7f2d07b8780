from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from glowplug.gateway.deadlines import SLOT_S, Deadlines


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Waiting:
    slot = 0

    def __init__(self, told: list[Waiting]) -> None:
        self.told = told

    def expire(self) -> None:
        self.told.append(self)


@given(st.lists(st.tuples(st.floats(0, 300), st.booleans(), st.none() | st.floats(0, 300)), max_size=40))
def test_each_is_told_once_in_its_slot_and_what_was_dropped_never(
    plan: list[tuple[float, bool, float | None]],
) -> None:
    async def scenario() -> None:
        clock, told = Clock(), list[Waiting]()
        deadlines = Deadlines(clock)
        due: dict[Waiting, float] = {}
        for at_s, dropped, moved_s in plan:
            one = Waiting(told)
            deadlines.set(one, 1000 + at_s)
            if moved_s is not None:
                deadlines.set(one, 1000 + moved_s)
            if dropped:
                deadlines.drop(one)
                deadlines.drop(one)
            else:
                due[one] = at_s if moved_s is None else moved_s
        assert len(deadlines) == len(due)
        while clock.now_s < 1302:
            clock.now_s += 7.3
            told.clear()
            deadlines._look()
            for one in told:
                at_s = due.pop(one) + 1000
                assert at_s <= clock.now_s
                assert at_s + 7.3 + SLOT_S >= clock.now_s
        assert not due
        assert len(deadlines) == 0
        deadlines.close()

    asyncio.run(scenario())


def test_the_loop_is_woken_only_while_something_waits() -> None:
    async def scenario() -> None:
        loop, told = asyncio.get_running_loop(), list[Waiting]()
        deadlines = Deadlines(loop.time)
        one = Waiting(told)
        deadlines.set(one, loop.time())
        while not told:
            await asyncio.sleep(SLOT_S / 5)
        assert deadlines._timer is None

    asyncio.run(scenario())
