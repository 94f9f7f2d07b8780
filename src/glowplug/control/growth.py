"""Growing: a new instance or zygote, with all that it has to stand on."""

from __future__ import annotations

from math import inf

from glowplug.control import gangs, holdings, instances, memory, placement
from glowplug.control.context import Context
from glowplug.control.origins import best_origin
from glowplug.control.records import Function, Holding, Instance, Node, Request, Version, key_of
from glowplug.control.sizes import (
    environment_bytes,
    fits_later,
    instance_bytes,
    too_big,
    weight_bytes,
    zygote_bytes,
)
from glowplug.control.wants import prewarm_of
from glowplug.control.worth import demand, needed_soon
from glowplug.core.commands import Target
from glowplug.core.errors import NoSpace
from glowplug.core.ids import InstanceId, NodeId
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority
from glowplug.policy.eviction import Worth

_TAKING_OVER_S = 1.0
"""Until a sandbox that was emptied for a function has to be its."""


def grow(
    c: Context, function: Function, version: Version, request: Request | None = None, *, prime: bool = False
) -> bool:
    """A new climbing instance, with the request bound to it if one is given: it waits for this.

    False when something under it is on its way, or memory is waited for. Raises NoSpace when it can
    never fit.
    """
    line = None if function.on_device else function.starved_at
    node = placement.choose(c, version, whole_bytes(c, version), line)
    return node is not None and _grow_at(
        c, node, function, version, request, urgent=request is not None, prime=prime
    )


def grow_ahead(c: Context, node: Node, function: Function, version: Version, *, limit: float) -> bool:
    """As grow, at a node, for no request: what is worth less than `limit` may go for it."""
    return _grow_at(
        c, node, function, version, None, urgent=False, prime=True, limit=limit, rank=Priority.BACKGROUND
    )


def _grow_at(
    c: Context, node: Node, function: Function, version: Version, request: Request | None,
    *, urgent: bool, prime: bool, limit: float = inf, rank: int = 0,
) -> bool:  # fmt: skip
    spec = version.spec
    rank = rank or (function.queue.rank if request is None else request.rank)
    own_bytes, size_bytes = instance_bytes(c, version), weight_bytes(version)
    spread, top_bytes = bool(gangs.parts_of(version)), whole_bytes(c, version)
    hopeless = too_big(c, version, node.id, top_bytes)
    if hopeless is not None and request is None and fits_later(c, version, node.id, top_bytes):
        node.patient[function.id] = None
        return False
    if hopeless is not None:
        raise NoSpace(hopeless)
    origin = best_origin(c, version, node.id)
    if origin is None:
        ensure_environment(c, node, function, version, rank if urgent else 0, limit=limit)
        return False
    needs = needs_of(version, node.id)
    weights = c.store.holdings.get(needs[1])
    leaving = gangs.leaving_weights(c, version, node.id) if spread else None
    if weights is not None and weights.phase == "descending":
        leaving = weights
    if leaving is not None:
        holdings.wait_for(leaving, function.id)
        return False
    need_bytes = own_bytes + (size_bytes if weights is None else 0)
    keep = needs[:2]
    if spread:
        need_bytes += gangs.need_bytes(c, version, node.id)
        keep += gangs.weights_keys(version, node.id)
    # A fork from a zygote finds nothing of use in another's sandbox.
    takes_over = c.settings.substrate == "process" and prewarm_of(c, version).takes_over
    if request is not None and takes_over:
        # Its room is free soon: until then the function waits in line for it.
        taken = c.now_s <= function.takes_over_until_s or _take_over(c, node, function, version, own_bytes)
        origin = Step.STAGED if taken else origin
    if not memory.acquire(
        c, node, function, need_bytes, urgent=urgent, keep=keep, spare=needs[2:], limit=limit
    ):
        if limit == inf:
            _open_another(c, function, version, top_bytes)
        return False
    cached = weights is not None
    if not cached:
        hold_weights(c, version, node.id)
    number = c.instance_id()
    parts = gangs.admit(c, version, node.id, number, rank) if spread else ()
    target = Target("instance", node.id, str(number))
    holding = holdings.enter(
        c, target, Step.PARKED, own_bytes, spec=spec, needs=(*needs, *parts), priority=rank
    )
    instances.launch(c, holding, version, origin, request, prime=prime, cached=cached, parts=parts)
    return True


def whole_bytes(c: Context, version: Version) -> int:
    """All that a new instance takes beside its environment, with its gang, where nothing of it is there."""
    spread_bytes = gangs.whole_bytes(c, version) if gangs.parts_of(version) else 0
    return instance_bytes(c, version) + weight_bytes(version) + spread_bytes


def _open_another(c: Context, function: Function, version: Version, need_bytes: int) -> None:
    """Where the environment stands, other functions would have to go. So it also climbs at a node with
    room, and no request waits for that. Otherwise later climbs would keep evicting each other while other
    nodes are empty."""
    node = placement.unopened(c, version, need_bytes)
    if node is not None:
        ensure_environment(c, node, function, version)


def _take_over(c: Context, node: Node, function: Function, version: Version, need_bytes: int) -> bool:
    """Empties another's idle sandbox that is large enough, the one used the longest ago: its successor costs
    a load and no new sandbox. False when there is none."""
    found: Instance | None = None
    for key in node.keys:
        if not key.startswith("instance/"):
            continue
        other = c.store.instances[InstanceId(int(key.rpartition("/")[2]))]
        fits = c.store.ledger.held_bytes(key) >= need_bytes and other.function != function.id
        same = c.version_of(other).spec.namespace == version.spec.namespace
        if other.slot == "idle" and other.host is None and fits and same:
            found = other if found is None or other.used_s < found.used_s else found
    if found is None:
        return False
    function.takes_over_until_s = c.now_s + _TAKING_OVER_S
    instances.drain(c, found, "taken over")
    return True


def needs_of(version: Version, node: NodeId) -> tuple[str, ...]:
    """Keys of what an instance stands on there: the environment, its weights and, if it is up, its zygote."""
    return (
        key_of("environment", node, version.environment),
        key_of("weights", node, version.weights),
        key_of("version", node, version.spec.version),
    )


def hold_weights(c: Context, version: Version, node: NodeId, *, forced: bool = False) -> None:
    """Enters the version's weights, which its climb brings into the page cache, unless they are there.

    They are not offered for eviction here, since the climb is about to stand on them.
    """
    size_bytes, name = weight_bytes(version), version.weights
    if size_bytes and key_of("weights", node, name) not in c.store.holdings:
        target = Target("weights", node, name)
        owned = not version.shared_weights
        holdings.enter(c, target, Step.LOCAL, size_bytes, spec=version.spec, forced=forced, owned=owned)


def ensure_environment(
    c: Context, node: Node, function: Function, version: Version, rank: int = 0, *, limit: float = inf
) -> Holding | None:
    """The environment's zygote when it is up; else it climbs, or waits for room, and the function with it.

    `rank` is the class of a request that waits for it; 0 when nobody does. What is worth less than `limit`
    may go for it.
    """
    spec = version.spec
    holding = c.store.holdings.get(key_of("environment", node.id, spec.environment_key))
    if holding is None:
        need_bytes = environment_bytes(c, spec.environment_key)
        if not memory.acquire(c, node, function, need_bytes, urgent=rank > 0, limit=limit):
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
    node = placement.choose(c, version, zygote_bytes(c, version) + weight_bytes(version))
    if node is None:
        return
    limit = inf
    if eager:
        costs, name = c.policies.costs, version.spec.version
        saved_s = costs.expect_s(name, "imported") - costs.expect_s(name, "staged")
        needed = needed_soon(c, function.id, c.policies.eviction)
        worth = Worth(demand(c, version), saved_s, zygote_bytes(c, version), needed=needed, used_s=c.now_s)
        limit = c.policies.eviction.score(worth)
    stage_at(c, node, function, version, limit=limit)


def stage_at(
    c: Context, node: Node, function: Function, version: Version, *, limit: float, rank: int = 0
) -> bool:
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
    weights = c.store.holdings.get(key_of("weights", node.id, version.weights))
    if weights is not None and weights.phase == "descending":
        holdings.wait_for(weights, function.id)
        return False
    own_bytes = zygote_bytes(c, version)
    need_bytes = own_bytes + (weight_bytes(version) if weights is None else 0)
    keep = (environment.key, weights.key if weights else "")
    if not memory.acquire(c, node, function, need_bytes, urgent=False, keep=keep, limit=limit):
        return False
    cached = weights is not None
    hold_weights(c, version, node.id)
    target = Target("version", node.id, spec.version)
    needs = (environment.key, key_of("weights", node.id, version.weights))
    holding = holdings.enter(c, target, Step.STAGED, own_bytes, spec=spec, needs=needs, priority=rank)
    holdings.climb(c, holding, version, cached=cached)
    return True


def reach_environment(c: Context, function: Function, version: Version) -> None:
    """Sends the version's environment up where it would climb, for no request."""
    node = placement.choose(c, version, 0)
    if node is not None:
        ensure_environment(c, node, function, version)
