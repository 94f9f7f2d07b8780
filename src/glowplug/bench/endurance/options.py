"""What `endurance` can be told: sizes, durations and seeds of its parts, and their small versions."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from glowplug.bench.known_names import check_names

Tell = Callable[[str], None]
"""Hears of progress, in words."""
PARTS = ("longtail", "idle", "overload", "priority", "kills", "soak")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`parts` by name. Durations are those of the load itself; starting and settling come on top."""

    parts: tuple[str, ...] = PARTS
    functions: int = 300
    calls: int = 600
    least_bytes: int = 10 * 10**6
    most_bytes: int = 100 * 10**6
    budget_bytes: int = 4 * 10**9
    idle_functions: int = 1000
    sample_every_s: float = 0.25
    request_s: float = 0.01
    """Processor time of one request in `overload` and `priority`."""
    capacity_s: float = 10.0
    overload_factor: float = 5.0
    overload_s: float = 60.0
    priority_requests: int = 300
    priority_rounds: int = 6
    """So often alone and beside alternate."""
    kills: int = 1000
    kills_per_run: int = 50
    kill_gap_s: float = 0.5
    """The longest pause between two kills; each pause is drawn evenly from none to this."""
    gateways: int = 1
    """Of the server of `kills`; those beside the first are killed too."""
    chaos_rate: float = 40.0
    """Requests a second under `kills` and `soak`."""
    soak_s: float = 1800.0
    seed: int = 1
    repeats: int = 1
    quick: bool = False

    def __post_init__(self) -> None:
        check_names("endurance", self, parts=PARTS)

    def resolved(self) -> Options:
        """Quick settings stand for all the others but `parts` and `seed`."""
        if not self.quick:
            return self
        return msgspec.structs.replace(
            self, functions=20, calls=40, least_bytes=30 * 10**6, most_bytes=60 * 10**6,
            budget_bytes=1300 * 10**6, idle_functions=20, sample_every_s=0.1,
            request_s=0.005, capacity_s=0.5, overload_s=3.0, priority_requests=20, priority_rounds=1,
            kills=16, kills_per_run=16, kill_gap_s=0.1, soak_s=3.0,
        )  # fmt: skip
