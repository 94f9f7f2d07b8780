"""Systems under measurement: ours and the baselines, one file each, behind one small interface."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from glowplug.bench.models import BenchModel


class Held(msgspec.Struct, frozen=True):
    """What a system holds for one model while it waits for a request.

    `own_bytes` is anonymous memory of the model's processes that its environment's process does not have,
    `environment_bytes` all of that one's, though models may share it, and `weights_bytes` the part of the
    weights' file in the page cache. See `memory`.
    """

    own_bytes: int
    environment_bytes: int
    weights_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.own_bytes + self.environment_bytes + self.weights_bytes


class Measurement(msgspec.Struct, frozen=True):
    """One request to a function that was not running, and what its endpoint costs when it runs.

    `latency_s` is the client's: from before the request is sent until its answer is whole. `warm_s` is the
    median of the same request to the same process afterwards, when nothing climbs beside it. `held` is what
    was held for it before the request came, and `private_bytes`, where known, what its waiting worker alone
    has mapped.
    """

    answer: Any
    latency_s: float
    warm_s: float
    phases: dict[str, float]
    held: Held
    private_bytes: int | None = None


class System(Protocol):
    """Brings a model to a step of the ladder and asks it once."""

    name: str

    def steps(self) -> tuple[str, ...]:
        """The steps this system can stand at, highest last."""
        ...

    def measure(self, model: BenchModel, request: Any, step: str, cache: str) -> Measurement:
        """`cache` is `warm` or `cold`: are the weights in the page cache? Raises when no answer comes."""
        ...

    def close(self) -> None:
        """Ends every process of the system; a second call does nothing."""
        ...
