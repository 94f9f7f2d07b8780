"""What `distributed` can be told: networks, workers, delays and seeds of its parts; their small versions."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from glowplug.bench.known_names import check_names
from glowplug.policy.plans.model import DELAYS

Tell = Callable[[str], None]
"""Hears of progress, in words."""
PARTS = (
    "formula",
    "kernel",
    "schemes",
    "sizes",
    "pipeline",
    "choice",
    "live",
    "faults",
    "capped",
    "gang",
    "transformer",
)
REAL = ("live", "faults", "capped", "gang", "transformer")
"""With processes and services of this machine; not in the small version."""
REAL_CHANNELS = ("shared_memory", "object (folder)", "object (seaweedfs)", "nats", "queue (moto)")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`parts` by name. `ink` are the thresholds of the digits; `surveyed` of the samples are run and
    encoded, through the first `head` layers, from which the sizes of all messages follow. `slowdowns` are
    how many times slower than this machine's core one vCPU is. `folder` keeps partitions between runs, in
    place of the user's folder for caches.
    Real runs are of the smallest network, over `real_channels`, with `real_samples` and `real_workers`;
    over the queue, whose server is slow, only `queue_layers` of it. `repeats` are those of parts `kernel`
    (networks of `kernel_neurons`, the first `head` layers), `live` and `gang`, and `fault_runs` the runs in
    which something goes wrong; `folder` keeps them too, and after `within_s`, if it is given, no more are
    begun. Part `capped` has a network of its own, and `transformer` a model of `transformer_layers`, whose
    workers may hold `capped_bytes` each.
    """

    parts: tuple[str, ...] = PARTS
    neurons: tuple[int, ...] = (1024, 16384)
    workers: tuple[int, ...] = (8, 20, 42, 62)
    layers: int = 120
    samples: int = 10_000
    ink: tuple[int, int] = (12, 14)
    surveyed: int = 4096
    head: int = 24
    delays: tuple[str, ...] = tuple(DELAYS)
    slowdowns: tuple[float, ...] = (1.0, 2.0, 3.0)
    seeds: int = 5
    choice_neurons: tuple[int, ...] = (1024, 4096)
    choice_workers: tuple[int, ...] = (8, 20, 42, 62)
    pipeline_neurons: tuple[int, ...] = (1024, 4096, 16384)
    kernel_neurons: tuple[int, ...] = (1024, 4096, 16384, 65536)
    real_channels: tuple[str, ...] = REAL_CHANNELS
    real_samples: int = 1000
    real_workers: int = 4
    queue_layers: int = 12
    fault_runs: int = 100
    within_s: float = 0.0
    capped_neurons: int = 16384
    capped_layers: int = 1920
    capped_samples: int = 1000
    capped_workers: int = 8
    capped_bytes: int = 2_000_000_000
    capped_oracle_samples: int = 64
    transformer_layers: int = 60
    folder: str = ""
    repeats: int = 5
    quick: bool = False

    def __post_init__(self) -> None:
        check_names("distributed", self, parts=PARTS, delays=tuple(DELAYS), real_channels=REAL_CHANNELS)

    def resolved(self) -> Options:
        """Quick settings stand for all the others but `folder`, and real parts are left out."""
        if not self.quick:
            return self
        return msgspec.structs.replace(
            self, parts=tuple(part for part in self.parts if part not in REAL), neurons=(1024,), workers=(8,),
            layers=8, samples=1000, surveyed=128, head=6, delays=("hop-100ms",), slowdowns=(1.0,), seeds=1,
            choice_neurons=(1024,), choice_workers=(2,), pipeline_neurons=(1024,), kernel_neurons=(1024,),
            repeats=1,
        )  # fmt: skip
