"""What a simulation refused, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from glowplug.core.units import show_bytes
from glowplug.sim.models import ModelProfile
from glowplug.sim.workloads.trace import Trace


def largest_called(models: Sequence[ModelProfile], trace: Trace) -> ModelProfile:
    """Of a trace with calls, function k of which is a model of row k, counted on from the first."""
    called = (models[k % len(models)] for k, count in enumerate(trace.counts().tolist()) if count)
    return max(called, key=lambda model: model.device_bytes)


class Reasons(msgspec.Struct, frozen=True):
    """Why requests may be refused: the `largest` model that is called, and a client's patience."""

    largest: ModelProfile
    device_bytes: int
    timeout: str | None

    @property
    def too_large(self) -> str:
        """Words for a model that could never lie on a device; empty if each could."""
        if self.largest.device_bytes <= self.device_bytes:
            return ""
        return (
            f"{self.largest.name} takes {show_bytes(self.largest.device_bytes)} of a device, and each has "
            f"{show_bytes(self.device_bytes)}: give more --device-memory"
        )

    def tell(self, refused: Mapping[str, int], requests: int) -> str:
        """How many, by their kind, and why."""
        why = {
            "no_space": self.too_large,
            "deadline_passed": f"their client had given up, after {self.timeout}",
            "worker_died": "what they ran on failed",
            "unavailable": "no device had their model, and none could load it",
        }
        kinds = "; ".join(
            f"{count:,} {code}" + (f" ({words})" if (words := why.get(code)) else "")
            for code, count in refused.items()
        )
        return f"{sum(refused.values()):,} of {requests:,} requests were refused: {kinds}"
