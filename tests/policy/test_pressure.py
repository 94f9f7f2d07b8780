"""How much a node may hold beside others: played against neighbours that come and go as they like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.policy.pressure import Outside, Pressure, margin

GB = 10**9
TOTAL_BYTES = 20 * GB
GRANTED_BYTES = 4 * GB
LEAST_BYTES = GB // 2
MARGIN_BYTES = margin(TOTAL_BYTES)
CALM_S = 10


class Machine:
    """A node that fills what it may hold at once, beside others. `reserved` of its bytes are held in truth:
    estimates are never too low."""

    def __init__(self, reserved: float = 1.0, fills: float = 1.0) -> None:
        self.pressure = Pressure(GRANTED_BYTES, LEAST_BYTES)
        self.budget_bytes = GRANTED_BYTES
        self.reserved, self.fills = reserved, fills
        self.others_bytes = 0
        self.now_s = 0.0
        self.told: list[int] = []

    @property
    def available_bytes(self) -> int:
        held = int(self.budget_bytes * self.fills * self.reserved)
        return max(0, TOTAL_BYTES - self.others_bytes - held)

    def look(self, *, stalled: bool = False) -> int:
        own = int(self.budget_bytes * self.fills)
        outside = Outside(TOTAL_BYTES, self.available_bytes, own, stalled)
        found = self.pressure.budget(outside, self.budget_bytes, self.now_s)
        if found != self.budget_bytes:
            self.told.append(found)
        self.budget_bytes = found
        self.now_s += 1.0
        return found


def test_with_enough_for_all_nothing_changes() -> None:
    machine = Machine()
    for others in (0, 5 * GB, 14 * GB):
        machine.others_bytes = others
        assert machine.look() == GRANTED_BYTES


def test_memory_is_given_back_at_once_and_taken_again_when_it_has_lasted() -> None:
    machine = Machine()
    machine.others_bytes = 16 * GB
    assert machine.look() == TOTAL_BYTES - 16 * GB - MARGIN_BYTES
    assert machine.available_bytes == MARGIN_BYTES
    machine.others_bytes = 0
    for _ in range(CALM_S):
        assert machine.look() < GRANTED_BYTES
    assert machine.look() == GRANTED_BYTES


def test_what_others_give_back_for_a_moment_is_not_taken() -> None:
    machine = Machine()
    machine.others_bytes = 16 * GB
    pressed_bytes = machine.look()
    for second in range(60):
        machine.others_bytes = 16 * GB if second % 7 == 0 else 0
        assert machine.look() == pressed_bytes


def test_no_more_is_taken_than_was_there_all_the_time() -> None:
    machine = Machine()
    machine.others_bytes = 18 * GB
    machine.look()
    for second in range(CALM_S + 2):
        machine.others_bytes = int((16.5 if second == 5 else 16.0) * GB)
        machine.look()
    assert machine.budget_bytes == TOTAL_BYTES - int(16.5 * GB) - MARGIN_BYTES


def test_while_processes_wait_for_memory_more_is_kept_free() -> None:
    machine = Machine()
    machine.others_bytes = 16 * GB
    calm_bytes = machine.look()
    assert machine.look(stalled=True) == calm_bytes - MARGIN_BYTES


def test_a_node_that_holds_nothing_may_take_what_is_there() -> None:
    machine = Machine(fills=0.0)
    machine.others_bytes = 17 * GB
    assert machine.look() == TOTAL_BYTES - 17 * GB - MARGIN_BYTES


@pytest.mark.parametrize("granted", [LEAST_BYTES // 2, LEAST_BYTES])
def test_a_small_node_is_left_what_it_has(granted: int) -> None:
    outside = Outside(TOTAL_BYTES, 0, granted)
    assert Pressure(granted, LEAST_BYTES).budget(outside, granted, 0.0) == granted


@given(
    others=st.lists(st.tuples(st.integers(0, TOTAL_BYTES), st.booleans()), max_size=40),
    reserved=st.floats(0.5, 1.0),
    fills=st.floats(0.0, 1.0),
)
def test_whatever_others_do(others: list[tuple[int, bool]], reserved: float, fills: float) -> None:
    """It stays within its bounds, is never raised twice within ten seconds, or beyond what there was."""
    machine = Machine(reserved, fills)
    raised_s = -float(CALM_S)
    for others_bytes, stalled in others:
        machine.others_bytes = others_bytes
        before, at_s = machine.budget_bytes, machine.now_s
        left = machine.available_bytes - MARGIN_BYTES + int(before * fills)
        found = machine.look(stalled=stalled)
        assert LEAST_BYTES <= found <= GRANTED_BYTES
        if found > before:
            assert at_s - raised_s >= CALM_S
            assert found <= max(left, LEAST_BYTES)
            raised_s = at_s


@given(
    others=st.lists(st.integers(0, TOTAL_BYTES), max_size=30),
    last=st.integers(0, TOTAL_BYTES),
    reserved=st.floats(0.5, 1.0),
)
def test_beside_others_that_keep_still_it_keeps_still(others: list[int], last: int, reserved: float) -> None:
    """However they came there: soon the margin is free, as far as the node can see to that, and nothing
    changes any more. Nor is anything withheld when all of it is there."""
    machine = Machine(reserved)
    for others_bytes in others:
        machine.others_bytes = others_bytes
        machine.look()
    machine.others_bytes = last
    for _ in range(100):
        machine.look()
    told = len(machine.told)
    for _ in range(50):
        machine.look()
    assert len(machine.told) == told
    # A byte of each look is lost in rounding, and what is held may be half of what is reserved.
    assert machine.available_bytes >= MARGIN_BYTES - 100 or machine.budget_bytes == LEAST_BYTES
    if last + GRANTED_BYTES + MARGIN_BYTES <= TOTAL_BYTES:
        assert machine.budget_bytes == GRANTED_BYTES
