"""What `scheduling` can be told, and its small version."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from glowplug.bench.known_names import check_names
from glowplug.bench.recorded_hour import hour_path

Tell = Callable[[str], None]
"""Hears of progress, in words."""
PARTS = (
    "reproduction", "against", "rates", "grid", "loader", "contexts", "fairness", "decisions", "batches",
    "live", "picture",
)  # fmt: skip


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`parts` by name; `live` starts servers, and is left out of the small version. `seeds` are drawn from 0
    on, the same for every system. `processes` simulate side by side; 0 is one for each core. `resume` is a
    file in which what was simulated is kept and found again: a run that was cut off goes on there. Delete it
    when the code that it was made with has changed.

    Defaults are those of the claims: 12 devices of 8 GB. `nodes` and `host_bytes`
    matter with our loader alone, and are ours.
    """

    parts: tuple[str, ...] = PARTS
    traces: str = msgspec.field(default_factory=hour_path)
    devices: int = 12
    device_bytes: int = 8 * 10**9
    nodes: int = 3
    host_bytes: int = 128 * 10**9
    minutes: float = 30.0
    seeds: int = 5
    reproduction_minutes: float = 6.0
    grid_minutes: float = 6.0
    grid_seeds: int = 20
    grid_points: int = 20
    rates_seeds: int = 3
    rates_minutes: float = 30.0
    rates_step: float = 5.0
    """Requests a minute to which the highest rate is found."""
    bandwidths_bytes_s: tuple[float, ...] = (3e9, 6e9, 12e9, 25e9)
    decision_devices: tuple[int, ...] = (12, 100, 1000)
    decision_requests: int = 4000
    scale_functions: tuple[int, ...] = (10_000, 100_000)
    live_minutes: float = 3.0
    live_rounds: int = 2
    batch_models: tuple[str, ...] = ("minilm", "mobilenetv2")
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    processes: int = 0
    resume: str = ""
    repeats: int = 5
    quick: bool = False

    def __post_init__(self) -> None:
        check_names("scheduling", self, parts=PARTS)

    @property
    def workers(self) -> int:
        return self.processes or len(os.sched_getaffinity(0))

    def resolved(self) -> Options:
        """Quick settings stand for all the others but those that say where and what."""
        if not self.quick:
            return self
        return msgspec.structs.replace(
            self, minutes=0.5, seeds=1, reproduction_minutes=1.0, grid_minutes=0.5, grid_seeds=2,
            grid_points=2, rates_seeds=1, rates_minutes=0.5, rates_step=200.0, bandwidths_bytes_s=(12e9,),
            decision_devices=(12,), decision_requests=200, scale_functions=(200,),
            batch_models=("mobilenetv2",), batch_sizes=(1, 2), processes=1, repeats=1,
        )  # fmt: skip
