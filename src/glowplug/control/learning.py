"""What measurements change: what a version costs, how fast a device is, how many slots follow from them."""

from __future__ import annotations

from glowplug.control import capacity, sharing
from glowplug.control.context import Context
from glowplug.control.fleet.records import Device
from glowplug.control.records import Version
from glowplug.core.specs import BundleFacts
from glowplug.policy.costs import COPY_BYTES_PER_S

_SHORTEST_S = 1e-6
_PACE_SMOOTHING = 0.1
_LEAST_PACE, _MOST_PACE = 0.05, 20.0


def learn_run(c: Context, version: Version, took_s: float, count: int = 1) -> None:
    """`count` requests took `took_s` each: what that says about slots is kept with the version."""
    number = version.spec.version
    c.policies.costs.learn(number, "run", took_s, count)
    c.revalue(version.spec.function)
    resize(version, c.policies.costs.measured_s(number, "run"))


def learn_batch(c: Context, version: Version, device: Device, size: int, took_s: float) -> None:
    """What a batch took says something about its function and something about its device."""
    costs, number = c.policies.costs, version.spec.version
    if costs.measured_s(number, "run") is not None:
        ratio = took_s / max(costs.batch_s(number, size), _SHORTEST_S)
        device.pace += _PACE_SMOOTHING * (min(max(ratio, _LEAST_PACE), _MOST_PACE) - device.pace)
    costs.learn_batch(number, size, took_s / device.pace)
    if c.fleet_view is not None:
        c.fleet_view.expected.ran(version.spec.function)


def resize(version: Version, run_s: float | None) -> None:
    concurrency = version.spec.declaration.target_concurrency
    least = version.least_slots
    version.slots = capacity.slots(run_s, concurrency, least)
    version.patience_s = capacity.patience_s(run_s)
    version.most_slots = capacity.most_slots(run_s, concurrency, least)


def describe(version: Version, facts: BundleFacts | None, c: Context) -> None:
    """Takes in what is known of a version: by its declaration, and once it is built by its facts."""
    version.facts = facts
    if facts is not None:
        copy_s = facts.copy_s
        if version.on_device:
            copy_s = copy_s or facts.weight_bytes / COPY_BYTES_PER_S
        moves = {"run": facts.run_s, "imported": facts.load_s, "staged": copy_s}
        c.policies.costs.assume(version.spec.version, facts.batch_s, **moves)
    sharing.join(c, version)
    c.revalue(version.spec.function)
    declaration = version.spec.declaration
    version.at_once = capacity.at_once(declaration, facts)
    version.least_slots = capacity.least_slots(declaration, facts)
    resize(version, c.policies.costs.measured_s(version.spec.version, "run"))
