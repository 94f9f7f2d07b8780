"""How many bytes to reserve before anything was measured, and what a holding is worth."""

from __future__ import annotations

from math import log

from glowplug.control import capacity
from glowplug.control.context import Context
from glowplug.control.fleet.records import Device
from glowplug.control.records import Function, Holding, Instance, Version, key_of
from glowplug.core.ids import FunctionId, InstanceId, NodeId, VersionId
from glowplug.core.ladder import Step
from glowplug.core.priority import WORTH
from glowplug.core.specs import BundleFacts
from glowplug.policy.costs import COPY_BYTES_PER_S, DISK_BYTES_PER_S
from glowplug.policy.eviction import EvictionPolicy, Worth
from glowplug.policy.prewarm import PrewarmPolicy

_LOG_WORTH: dict[int, float] = {rank: log(weight) for rank, weight in WORTH.items()}
_SECOND_COPY = 0.3
"""How much less each further idle copy is needed."""
_RETIRED_RANK = -20.0
_SHORTEST_S = 1e-6
_PACE_SMOOTHING = 0.1
_LEAST_PACE, _MOST_PACE = 0.05, 20.0


def _padded(c: Context, estimate_bytes: int) -> int:
    return int(estimate_bytes * c.settings.reserve_factor) + c.settings.reserve_margin_bytes


def environment_bytes(c: Context, environment: str) -> int:
    measured = c.policies.costs.held_bytes(environment)
    if measured is None:
        return c.settings.environment_estimate_bytes
    return measured + c.settings.reserve_margin_bytes


def zygote_bytes(c: Context, version: Version) -> int:
    return _padded(c, version.facts.staged_bytes if version.facts else 0)


def instance_bytes(c: Context, version: Version) -> int:
    """What a new instance is given: what it may need, or on the `process` substrate its sandbox's limit."""
    facts = version.facts
    if c.settings.substrate == "process":
        return max(version.spec.declaration.memory_bytes, loaded_bytes(version))
    return _padded(c, max(facts.peak_bytes, facts.parked_bytes) if facts else 0)


def loaded_bytes(version: Version) -> int:
    """What an instance holds once everything is loaded in it."""
    return version.facts.parked_bytes if version.facts else 0


def weight_bytes(version: Version) -> int:
    return version.facts.weight_bytes if version.facts else 0


def freed_bytes(c: Context, key: str) -> int:
    """What is free once this holding is gone: with the head of a gang go its parts."""
    ledger, holding = c.store.ledger, c.store.holdings[key]
    if holding.target.kind != "instance":
        return ledger.held_bytes(key)
    parts = c.store.instances[InstanceId(int(holding.target.key))].parts
    return ledger.held_bytes(key) + sum(map(ledger.held_bytes, parts))


def too_big(c: Context, version: Version, node: str, top_bytes: int) -> str | None:
    """Words when `top_bytes`, with what they must stand on, could never fit at `node`."""
    environment = key_of("environment", node, version.spec.environment_key)
    base_bytes = c.store.ledger.held_bytes(environment) or environment_bytes(c, version.spec.environment_key)
    total_bytes = base_bytes + top_bytes
    context_bytes = c.store.nodes[NodeId(node)].context_bytes
    budget_bytes = c.store.ledger.budget[node] - context_bytes
    if total_bytes <= budget_bytes:
        return None
    beside = " beside its devices' contexts" if context_bytes else ""
    return (
        f"{version.spec.function} needs {total_bytes / 1e6:.0f} MB with its environment, more than the "
        f"memory budget of node {node} ({budget_bytes / 1e6:.0f} MB{beside}): raise the budget or "
        "declare less memory"
    )


def best_origin(c: Context, version: Version, node: str) -> Step | None:
    """From where an instance would climb at `node` now; None when not even its environment stands."""
    holdings = c.store.holdings
    if node in version.staged_on:
        return Step.STAGED
    environment = holdings.get(key_of("environment", node, version.environment))
    return Step.IMPORTED if environment is not None and environment.phase == "up" else None


def load_origin(c: Context, version: Version, node: NodeId) -> Step | None:
    """As best_origin, for a load to a device there: STAGED also when the node's memory has the weights."""
    origin = best_origin(c, version, node)
    return Step.STAGED if origin is not None and node in version.cached_on else origin


def load_s(c: Context, version: Version, node: NodeId) -> float:
    """A load to a device there: a copy from the node's memory, or a read; its environment left out."""
    near = node in version.staged_on or (
        node in version.cached_on and load_origin(c, version, node) is not None
    )
    return c.policies.costs.climb_s(version.spec.version, Step.STAGED if near else Step.IMPORTED)


def worth(c: Context, holding: Holding) -> Worth:
    """What keeping an idle holding spares: how often it is asked for, and seconds each time. What many share
    was used when what stands on it was asked for."""
    costs, arrivals = c.policies.costs, c.policies.arrivals
    held_bytes = freed_bytes(c, holding.key)
    if holding.target.kind == "environment":
        name = holding.target.key
        soon = 1.0 if c.policies.eviction.timely else 0.0
        saved_s, (uses, used_s) = costs.expect_s(name, "environment"), arrivals.seen(name)
        return Worth(arrivals.rank(name), saved_s, held_bytes, needed=soon, used_s=used_s, uses=uses)
    version = c.store.versions[VersionId(holding.version or "")]
    function = c.store.functions[version.spec.function]
    name = version.spec.version
    rank, needed = demand(c, version), needed_soon(c, function.id, c.policies.eviction)
    if name not in (function.active, function.next):
        rank += _RETIRED_RANK
        needed = 0.0
    if holding.target.kind == "weights" and version.on_device:
        return worth_below_devices(c, version, rank, needed)
    if holding.target.kind != "instance":
        saved_s = held_bytes / DISK_BYTES_PER_S
        if holding.target.kind == "version":
            saved_s = costs.expect_s(name, "imported") - costs.expect_s(name, "staged")
        uses, used_s = arrivals.seen(function.id)
        return Worth(
            rank, saved_s, held_bytes, _is_pinned(function, version), needed=needed, used_s=used_s, uses=uses
        )
    origin = best_origin(c, version, holding.target.node) or Step.LOCAL
    pinned = _is_kept(c, function, version)
    instance = c.store.instances[InstanceId(int(holding.target.key))]
    saved_s, used_s = costs.climb_s(name, origin), instance.used_s
    needed *= _SECOND_COPY ** max(0, len(version.idle) - 1)
    return Worth(rank, saved_s, held_bytes, pinned, needed=needed, used_s=used_s, uses=instance.uses)


def _is_kept(c: Context, function: Function, version: Version) -> bool:
    """Whether none of its workers is to go, but for a request that finds no other room."""
    return version.live <= replicas_wanted(c, function) or _is_pinned(function, version)


def _is_pinned(function: Function, version: Version) -> bool:
    return version.spec.declaration.pin and version.spec.version == function.active


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


def worth_on_device(c: Context, instance: Instance, left: int = 0) -> Worth:
    """What keeping a model on its device spares: the load from where its node has it else. `left` copies are
    counted that have just gone."""
    version, function = c.store.versions[instance.version], c.store.functions[instance.function]
    copies, at_once = len(c.store.fleet.where.get(instance.function, ())) + left, 0.0
    if copies > 1:
        rate_per_s = c.policies.arrivals.rate_per_s(instance.function, c.now_s)
        at_once = rate_per_s * c.policies.costs.expect_s(instance.version, "run")
    return Worth(
        rank=demand(c, version),
        saved_s=load_s(c, version, instance.node),
        held_bytes=c.store.fleet.ledger.held_bytes(instance.key),
        pinned=_is_kept(c, function, version),
        copies=max(1, copies),
        needed=needed_soon(c, instance.function, c.policies.device_eviction),
        at_once=at_once,
        used_s=instance.used_s,
        uses=instance.uses,
    )


def score_now(c: Context, key: str) -> float:
    """What an offered holding is worth at this moment, in the eviction policy's own measure."""
    return c.policies.eviction.score(worth(c, c.store.holdings[key]))


def device_score_now(c: Context, key: str) -> float:
    holding = c.store.holdings[key]
    instance = c.store.instances[InstanceId(int(holding.target.key))]
    return c.policies.device_eviction.score(worth_on_device(c, instance))


def needed_soon(c: Context, function: FunctionId, policy: EvictionPolicy) -> float:
    """The probability that a function is asked for within the horizon; only worked out for a policy that
    wants to know."""
    if not policy.timely:
        return 0.0
    return c.policies.predictors.needed(function, c.now_s, 0.0, c.settings.preload_horizon_s)


def worth_below_devices(c: Context, version: Version, rank: float, needed: float) -> Worth:
    """What a model's weights in a node's memory spare: the difference between a read and a copy. What lies on
    devices already is loaded the less often, the more copies there are: so memory has what they have not."""
    costs, name, function = c.policies.costs, version.spec.version, version.spec.function
    spared_s = costs.expect_s(name, "imported") - costs.expect_s(name, "staged")
    uses, used_s = c.policies.arrivals.seen(function)
    return Worth(
        rank=rank,
        saved_s=spared_s / (1 + len(c.store.fleet.where.get(function, ()))),
        held_bytes=weight_bytes(version),
        needed=needed,
        used_s=used_s,
        uses=uses,
    )


def demand(c: Context, version: Version) -> float:
    """The logarithm of how often the function is asked for, in seconds of waiting that count by its class."""
    return c.policies.arrivals.rank(version.spec.function) + _LOG_WORTH[version.rank]


def replicas_wanted(c: Context, function: Function) -> int:
    """Instances to keep parked; none while an operator holds the function below PARKED."""
    if function.active is None or function.gone:
        return 0
    goal = function.goal if function.goal is not None else function.hold
    if goal is None and function.replicas is None:
        return c.store.versions[function.active].spec.declaration.min_workers
    if goal is not None and goal < Step.PARKED:
        return 0
    declared = c.store.versions[function.active].spec.declaration.min_workers
    wanted = declared if function.replicas is None else function.replicas
    return max(wanted, 1) if goal is not None else wanted


def prewarm_of(c: Context, version: Version) -> PrewarmPolicy:
    """What the function declares, else what the settings say."""
    name = version.spec.declaration.prewarm
    return c.policies.prewarm.get(name) or c.policies.prewarm[c.settings.prewarm]


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
    c.revalue(version.spec.function)
    declaration = version.spec.declaration
    version.at_once = capacity.at_once(declaration, facts)
    version.least_slots = capacity.least_slots(declaration, facts)
    resize(version, c.policies.costs.measured_s(version.spec.version, "run"))


def most_workers(c: Context, function: Function, version: Version) -> int:
    declared = version.spec.declaration.max_workers
    return max(declared, 1, replicas_wanted(c, function))
