"""What a declaration allows, in numbers."""

from __future__ import annotations

from glowplug.core.priority import Priority
from glowplug.node.isolation import limits


def test_weights_and_every_worker_have_room() -> None:
    small = limits.memory_limit_bytes(10**8, 0, 1)
    assert small == 2 * 10**8 + limits.HEADROOM_BYTES
    assert limits.memory_limit_bytes(10**8, 10**9, 1) == small + 10**9
    assert limits.memory_limit_bytes(10**8, 0, 4) == small + 3 * 10**8


def test_workers_of_a_gang_hold_what_was_declared_their_share_of_the_model_included() -> None:
    part = limits.part_limit_bytes(2 * 10**9, 1)
    assert part == 2 * 10**9 + limits.HEADROOM_BYTES
    assert limits.part_limit_bytes(2 * 10**9, 3) == part + 4 * 10**9
    assert limits.head_limit_bytes(2 * 10**9, 1) == part + limits.HEADROOM_BYTES, "its zygote"


def test_scratch_is_what_was_declared_and_never_nothing() -> None:
    assert limits.scratch_limit_bytes(10**9) == 10**9
    assert limits.scratch_limit_bytes(1) == limits.SMALLEST_SCRATCH_BYTES


def test_no_class_weighs_less_than_its_turns() -> None:
    """One turn in nine, one in 33; the highest as a busy process on each core."""
    assert limits.class_shares(Priority.INTERACTIVE, 4) == 4096
    assert limits.class_shares(Priority.BATCH, 4) == 4096 // 9
    assert limits.class_shares(Priority.BACKGROUND, 4) == 4096 // 33
    assert limits.class_shares(Priority.BACKGROUND, 1) >= 2


def test_shares_are_those_of_processes() -> None:
    assert limits.processor_shares(0, 1) == 1024
    assert limits.processor_shares(0, 3) == 3 * 1024
    assert 100 < limits.processor_shares(10, 1) < 112  # the kernel's own table says 110
    assert limits.processor_shares(19, 1) >= 2
