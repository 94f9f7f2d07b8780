"""How many bytes something is given before it was measured, and what could never fit."""

from __future__ import annotations

from glowplug.control.context import Context
from glowplug.control.fleet.records import Device
from glowplug.control.records import Instance, Version, key_of
from glowplug.core.ids import InstanceId, NodeId


def _padded(c: Context, estimate_bytes: int) -> int:
    return int(estimate_bytes * c.settings.reserve_factor) + c.settings.reserve_margin_bytes


def environment_bytes(c: Context, environment: str) -> int:
    measured = c.policies.costs.held_bytes(environment)
    if measured is None:
        return c.settings.environment_estimate_bytes
    return measured + c.settings.reserve_margin_bytes


def zygote_bytes(c: Context, version: Version) -> int:
    padded_bytes = _padded(c, version.facts.staged_bytes if version.facts else 0)
    return max(padded_bytes, version.measured.get("version", 0) + c.settings.reserve_margin_bytes)


def instance_bytes(c: Context, version: Version) -> int:
    """What a new instance is given: what it may need, or on the `process` substrate its sandbox's limit; and
    no less than the last one held, or this one would have to go again for what it takes too much."""
    facts, measured = version.facts, version.measured
    measured_bytes = max(measured.get("instance", 0), measured.get("part", 0)) if measured else 0
    if c.settings.substrate == "process":
        return max(version.spec.declaration.memory_bytes, loaded_bytes(version), measured_bytes)
    return max(_padded(c, max(facts.peak_bytes, facts.parked_bytes) if facts else 0), measured_bytes)


def loaded_bytes(version: Version) -> int:
    """What an instance holds once everything is loaded in it."""
    return version.facts.parked_bytes if version.facts else 0


def weight_bytes(version: Version) -> int:
    return version.facts.weight_bytes if version.facts else 0


def missing_environment_bytes(c: Context, version: Version, node: NodeId) -> int:
    """What a climb there would bring with the environment that it stands on."""
    held = key_of("environment", node, version.environment) in c.store.holdings
    return 0 if held else environment_bytes(c, version.environment)


def missing_weight_bytes(c: Context, version: Version, node: NodeId) -> int:
    """Of the weights a climb there would bring into memory."""
    held = key_of("weights", node, version.weights) in c.store.holdings
    return 0 if held else weight_bytes(version)


def freed_bytes(c: Context, key: str) -> int:
    """What is free once this holding is gone: with the head of a gang go its parts."""
    target = c.store.holdings[key].target
    if target.kind != "instance":
        return c.store.ledger.held_bytes(key)
    return worker_bytes(c, c.store.instances[InstanceId(int(target.key))])


def worker_bytes(c: Context, instance: Instance) -> int:
    """What a worker holds, and the parts of its gang."""
    ledger = c.store.ledger
    own_bytes = ledger.held_bytes(instance.key)
    return own_bytes + sum(map(ledger.held_bytes, instance.parts)) if instance.parts else own_bytes


def too_big(c: Context, version: Version, node: NodeId, top_bytes: int) -> str | None:
    """Words when `top_bytes`, with what they must stand on, could never fit at `node`, or not for now."""
    total_bytes = _with_environment(c, version, node, top_bytes)
    context_bytes = c.store.nodes[node].context_bytes
    budget_bytes = c.store.ledger.budget[node] - context_bytes
    if total_bytes <= budget_bytes:
        return None
    if fits_later(c, version, node, top_bytes):
        return (
            f"{version.spec.function} needs {total_bytes / 1e6:.0f} MB with its environment, and others on "
            f"the machine of node {node} leave it {budget_bytes / 1e6:.0f} MB now"
        )
    beside = " beside its devices' contexts" if context_bytes else ""
    return (
        f"{version.spec.function} needs {total_bytes / 1e6:.0f} MB with its environment, more than the "
        f"memory budget of node {node} ({budget_bytes / 1e6:.0f} MB{beside}): raise the budget or "
        "declare less memory"
    )


def fits_later(c: Context, version: Version, node: NodeId, top_bytes: int) -> bool:
    """Whether they could fit once others on the machine gave back what they took of the node's memory."""
    record = c.store.nodes[node]
    granted_bytes = max(record.granted_bytes, c.store.ledger.budget[node])
    return _with_environment(c, version, node, top_bytes) <= granted_bytes - record.context_bytes


def _with_environment(c: Context, version: Version, node: NodeId, top_bytes: int) -> int:
    environment = version.environment
    held_bytes = c.store.ledger.held_bytes(key_of("environment", node, environment))
    return (held_bytes or environment_bytes(c, environment)) + top_bytes


def device_bytes(version: Version, device: Device) -> int:
    """What a worker with the model takes of the device: its model and its context."""
    return model_bytes(version) + device.context_bytes


def model_bytes(version: Version) -> int:
    """What it takes beside its context: measured, declared, or its weights and as much as it may need."""
    facts, declared = version.facts, version.spec.declaration
    own_bytes = facts.device_bytes if facts is not None else 0
    return own_bytes or declared.device_memory_bytes or weight_bytes(version) + declared.memory_bytes


def too_large(c: Context, version: Version, device: Device) -> str:
    """Words for a model that could never lie there."""
    need_bytes, capacity_bytes = device_bytes(version, device), c.store.fleet.ledger.budget[device.id]
    return (
        f"{version.spec.function} needs {need_bytes / 1e6:.0f} MB of a device, and {device.id} has "
        f"{capacity_bytes / 1e6:.0f} MB: use a larger device, or a smaller model or batch"
    )
