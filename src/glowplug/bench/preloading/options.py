"""What `preloading` can be asked for."""

from __future__ import annotations

import msgspec

from glowplug.bench.known_names import check_names
from glowplug.bench.recorded_hour import hour_path

PARTS = (
    "table", "nodes", "mix", "hour", "jitter", "plain", "cpu", "zygote", "shared", "wide",
    "devices", "live", "lent",
)  # fmt: skip
SHARES = (0.05, 0.1, 0.25, 0.5)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is the folder of the recorded hour. `functions` of its 1,000 are taken, by the seed, and for the
    mix `mix_functions`, in part `wide` `wide_functions` over `wide_nodes`; part `hour` runs with
    `hour_shares` of memory, part `zygote` with `zygote_shares`. In part `live` each policy has `live_rounds`
    turns of `live_minutes`. `processes` simulate side by side; 0 is one for each core. `resume` is a file
    that keeps finished cells, for a run that was broken off."""

    path: str = msgspec.field(default_factory=hour_path)
    parts: tuple[str, ...] = PARTS
    functions: int = 120
    mix_functions: int = 240
    wide_functions: int = 240
    wide_nodes: tuple[int, ...] = (8, 16, 64)
    hour_shares: tuple[float, ...] = SHARES
    zygote_shares: tuple[float, ...] = SHARES
    live_minutes: float = 10.0
    live_rounds: int = 1
    repeats: int = 3
    seed: int = 1
    processes: int = 0
    resume: str = ""
    quick: bool = False

    def __post_init__(self) -> None:
        check_names("preloading", self, parts=PARTS)
