"""Growing: a new instance or zygote, with all that it has to stand on."""

from __future__ import annotations

from functools import partial
from math import inf

from glowplug.control import holdings, instances, lines, memory, placement
from glowplug.control.context import Context
from glowplug.control.estimates import (
    best_origin,
    demand,
    device_bytes,
    device_score_now,
    environment_bytes,
    instance_bytes,
    needed_soon,
    too_big,
    too_large,
    weight_bytes,
    zygote_bytes,
)
from glowplug.control.fleet.records import Device
from glowplug.control.records import Function, Holding, Node, Request, Version, key_of
from glowplug.core.commands import Target
from glowplug.core.errors import NoSpace
from glowplug.core.ids import InstanceId, NodeId
from glowplug.core.ladder import Step
from glowplug.policy.eviction import Worth


def grow(
    c: Context, function: Function, version: Version, request: Request | None = None, *, prime: bool = False
) -> bool:
    """A new climbing instance, with the request bound to it if one is given: it waits for this.

    False when something under it is on its way, or memory is waited for. Raises NoSpace when it can
    never fit.
    """
    node = placement.choose(c, version)
    return node is not None and _grow_at(
        c, node, function, version, request, None, request is not None, prime
    )


def grow_ahead(c: Context, node: Node, function: Function, version: Version, *, limit: float) -> bool:
    """As grow, at a node, for no request: what is worth less than `limit` may go for it."""
    return _grow_at(c, node, function, version, None, None, False, True, limit)


def grow_on(c: Context, function: Function, version: Version, device: Device, *, urgent: bool) -> bool:
    """As grow, on a device; `urgent` when requests are bound to it there."""
    if device_bytes(version, device) > c.store.fleet.ledger.budget[device.id]:
        raise NoSpace(too_large(c, version, device))
    node = c.store.nodes[device.node]
    return _grow_at(c, node, function, version, None, device, urgent, False)


def _grow_at(
    c: Context, node: Node, function: Function, version: Version, request: Request | None,
    device: Device | None, urgent: bool, prime: bool, limit: float = inf,
) -> bool:  # fmt: skip
    spec = version.spec
    rank = function.queue.rank if request is None else request.rank
    own_bytes, size_bytes = instance_bytes(c, version), weight_bytes(version)
    hopeless = too_big(c, version, node.id, own_bytes + size_bytes)
    if hopeless is not None:
        raise NoSpace(hopeless)
    origin = best_origin(c, version, node.id)
    if origin is None:
        ensure_environment(c, node, function, version, rank if urgent else 0)
        return False
    weights_key = key_of("weights", node.id, spec.version)
    weights = c.store.holdings.get(weights_key)
    if weights is not None and weights.phase == "descending":
        holdings.wait_for(weights, function.id)
        return False
    if device is not None and not _make_room_on(c, device, version):
        return False
    need_bytes = own_bytes + (size_bytes if weights is None else 0)
    needs = (
        key_of("environment", node.id, spec.environment_key),
        weights_key,
        key_of("version", node.id, spec.version),
    )
    if not memory.acquire(
        c, node, function, need_bytes, urgent=urgent, keep=needs[:2], spare=needs[2:], limit=limit
    ):
        return False
    if weights is None:
        hold_weights(c, version, node.id)
    target = Target("instance", node.id, str(c.instance_id()))
    holding = holdings.enter(c, target, Step.PARKED, own_bytes, spec=spec, needs=needs, priority=rank)
    if device is not None:
        c.store.fleet.ledger.record(holding.key, device.id, device_bytes(version, device))
        device.loading[function.id] = InstanceId(int(target.key))
        lines.leave(c, function)
    instances.launch(c, holding, version, origin, request, prime=prime, device=device)
    return True


def _make_room_on(c: Context, device: Device, version: Version) -> bool:
    """Whether the model's bytes are free there; if not, the least worthy of what is idle there goes."""
    ledger, need_bytes = c.store.fleet.ledger, device_bytes(version, device)
    short_bytes = need_bytes - ledger.free_bytes(device.id)
    if short_bytes > 0:
        short_bytes -= ledger.leaving[device.id]
        if short_bytes > 0:
            current = partial(device_score_now, c)
            for key in c.policies.device_eviction.victims(device.id, short_bytes, (), inf, current):
                number = InstanceId(int(c.store.holdings[key].target.key))
                instances.drain(c, c.store.instances[number], "evicted")
    return ledger.free_bytes(device.id) >= need_bytes


def hold_weights(c: Context, version: Version, node: NodeId, *, forced: bool = False) -> None:
    """Enters the version's weights, which its climb brings into the page cache, unless they are there.

    They are not offered for eviction here, since the climb is about to stand on them.
    """
    size_bytes = weight_bytes(version)
    if size_bytes and key_of("weights", node, version.spec.version) not in c.store.holdings:
        target = Target("weights", node, version.spec.version)
        holdings.enter(c, target, Step.LOCAL, size_bytes, spec=version.spec, forced=forced)


def ensure_environment(
    c: Context, node: Node, function: Function, version: Version, rank: int = 0
) -> Holding | None:
    """The environment's zygote when it is up; else it climbs, or waits for room, and the function with it.

    `rank` is the class of a request that waits for it; 0 when nobody does.
    """
    spec = version.spec
    holding = c.store.holdings.get(key_of("environment", node.id, spec.environment_key))
    if holding is None:
        need_bytes = environment_bytes(c, spec.environment_key)
        if not memory.acquire(c, node, function, need_bytes, urgent=rank > 0):
            return None
        target = Target("environment", node.id, spec.environment_key)
        holding = holdings.enter(c, target, Step.IMPORTED, need_bytes, spec=spec, priority=rank)
        holdings.climb(c, holding, version)
    elif holding.phase == "up":
        return holding
    holdings.hurry(c, holding, rank)
    holdings.wait_for(holding, function.id)
    return None


def stage(c: Context, function: Function, version: Version, *, eager: bool) -> None:
    """Sends the version's zygote up. An eager one evicts only what is worth less than itself."""
    node = placement.choose(c, version)
    if node is None:
        return
    limit = inf
    if eager:
        costs, name = c.policies.costs, version.spec.version
        saved_s = costs.expect_s(name, "imported") - costs.expect_s(name, "staged")
        needed = needed_soon(c, function.id)
        worth = Worth(demand(c, version), saved_s, zygote_bytes(c, version), needed=needed)
        limit = c.policies.eviction.score(worth)
    stage_at(c, node, function, version, limit=limit)


def stage_at(c: Context, node: Node, function: Function, version: Version, *, limit: float) -> bool:
    """Sends the version's zygote up at a node; what is worth less than `limit` may go for it.

    False when something under it is on its way, or memory is waited for.
    """
    spec = version.spec
    if version.unstageable or key_of("version", node.id, spec.version) in c.store.holdings:
        return True
    environment = c.store.holdings.get(key_of("environment", node.id, spec.environment_key))
    if environment is None or environment.phase != "up":
        if limit == inf:
            ensure_environment(c, node, function, version)
        return False
    weights = c.store.holdings.get(key_of("weights", node.id, spec.version))
    if weights is not None and weights.phase == "descending":
        holdings.wait_for(weights, function.id)
        return False
    own_bytes = zygote_bytes(c, version)
    need_bytes = own_bytes + (weight_bytes(version) if weights is None else 0)
    keep = (environment.key, weights.key if weights else "")
    if not memory.acquire(c, node, function, need_bytes, urgent=False, keep=keep, limit=limit):
        return False
    hold_weights(c, version, node.id)
    target = Target("version", node.id, spec.version)
    needs = (environment.key, key_of("weights", node.id, spec.version))
    holding = holdings.enter(c, target, Step.STAGED, own_bytes, spec=spec, needs=needs)
    holdings.climb(c, holding, version)
    return True


def reach_environment(c: Context, function: Function, version: Version) -> None:
    """Sends the version's environment up where it would climb, for no request."""
    node = placement.choose(c, version)
    if node is not None:
        ensure_environment(c, node, function, version)
