"""What a simulation refused, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from glowplug.core.errors import InvalidArguments, InvalidWorkload
from glowplug.core.settings import ControlSettings
from glowplug.core.units import show_bytes, show_seconds
from glowplug.sim.fleets import FleetSettings, loads_s
from glowplug.sim.models import ModelProfile
from glowplug.sim.workloads.trace import Trace


def largest_called(models: Sequence[ModelProfile], trace: Trace) -> ModelProfile:
    """Of a trace with calls, function k of which is a model of row k, counted on from the first."""
    return max((models[k % len(models)] for k in called(trace)), key=lambda model: model.device_bytes)


def called(trace: Trace) -> list[int]:
    """The numbers of the functions that have calls."""
    return [number for number, count in enumerate(trace.counts().tolist()) if count]


def check_loads(settings: FleetSettings, models: Sequence[ModelProfile], trace: Trace) -> None:
    """Raises InvalidWorkload or InvalidArguments for a model that is called and could never be loaded in the
    time after which the controller gives a load up."""
    limit_s = settings.control.climb_timeout_s
    given_up = f"and a load is given up after {show_seconds(limit_s)}"
    for model in {models[k % len(models)].name: models[k % len(models)] for k in called(trace)}.values():
        load_s, next_load_s = loads_s(settings, model)
        if load_s > limit_s:
            raise InvalidWorkload(f"profiles: {model.name} takes {show_seconds(load_s)} to load, {given_up}")
        if next_load_s > limit_s:
            raise InvalidArguments(
                f"--copy-bandwidth: {model.name} takes {show_seconds(next_load_s)} to copy, {given_up}",
                "copy_bandwidth",
            )


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
            "unavailable": (
                "no device had their model, and none could load it within the "
                f"{show_seconds(ControlSettings().climb_timeout_s)} after which a load is given up"
            ),
        }
        kinds = "; ".join(
            f"{count:,} {code}" + (f" ({words})" if (words := why.get(code)) else "")
            for code, count in refused.items()
        )
        return f"{sum(refused.values()):,} of {requests:,} requests were refused: {kinds}"
