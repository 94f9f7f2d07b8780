"""Which node a version climbs at: where most of the ladder stands already, then where most memory is free,
or where what has to go for it is needed least."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from math import inf
from zlib import crc32

from glowplug.control import offers, victims
from glowplug.control.context import Context
from glowplug.control.records import Function, Node, Version, key_of
from glowplug.control.sizes import environment_bytes, instance_bytes, too_big, weight_bytes
from glowplug.core.ids import NodeId

_SAMPLED = 4
_HOMES = 4
_WEIGHED = 4
"""For at most this many equally good nodes we compute what would be evicted."""
_COMING, _UP, _CACHED, _STAGED = 1, 2, 3, 4
_AT_ONCE_S = 0.01
"""An environment expected to take less than this is no reason to prefer a node, as where processes share
nothing."""


def choose(c: Context, version: Version, whole_bytes: int, line: NodeId | None = None) -> Node | None:
    """The best of a few candidates, so that the cost does not grow with the cluster: none where `whole_bytes`
    beside the environment could not be even if nothing else was there, unless that is so everywhere.

    Who stands in `line` for a node's memory stays there, for else whole lines would move back and forth and
    nobody keep a place, unless it may begin elsewhere and not here.

    None without nodes: the function is looked at again when one joins.
    """
    store = c.store
    order = store.node_order
    if not order:
        store.stranded[version.spec.function] = None
        return None
    if len(order) == 1:
        return store.nodes[order[0]]
    environments = store.environments.get(version.spec.environment_key, {})
    candidates: dict[NodeId, None] = {}
    near = (islice(version.staged_on, 2), islice(with_weights(c, version), 2), islice(environments, 2))
    for node in chain(*near):
        candidates[node] = None
    candidates.update(_anywhere(c, version))
    if all(too_big(c, version, node, whole_bytes) for node in candidates):
        candidates[max(order, key=store.ledger.budget.__getitem__)] = None
    need_bytes = instance_bytes(c, version)
    offers.settle(c)
    at_once = _opens_at_once(c, version)
    if line is not None and not too_big(c, version, line, whole_bytes):
        others = [node for node in candidates if node != line and _is_open(c, version, node, at_once=at_once)]
        candidates = dict.fromkeys(_better(c, version, line, others) or (line,))

    def rank(node: NodeId) -> tuple[bool, bool, int, int]:
        free_bytes = store.ledger.free_bytes(node)
        fits = free_bytes + c.policies.eviction.offered(node) >= need_bytes
        never_fits = too_big(c, version, node, whole_bytes) is not None
        return never_fits, not fits, -_height(c, version, node, at_once=at_once), -free_bytes

    ranks = {node: rank(node) for node in candidates}
    best, *others = sorted(candidates, key=ranks.__getitem__)
    if not c.policies.eviction.timely or store.ledger.free_bytes(best) >= need_bytes:
        return store.nodes[best]
    as_good = [node for node in others if ranks[node][:-1] == ranks[best][:-1]][: _WEIGHED - 1]
    return min(
        map(store.nodes.__getitem__, (best, *as_good)),
        key=lambda node: victims.displaced_s(c, node, need_bytes),
    )


def may_begin(c: Context, function: Function, node: NodeId, room_bytes: int) -> bool:
    """Whether one that waits for another node's memory could begin here, with so many bytes."""
    if function.on_device or function.active is None:
        return False
    version = c.store.versions[function.active]
    if not _is_open(c, version, node, at_once=_opens_at_once(c, version)):
        return False
    return room_bytes >= _need_bytes(c, version, node)


def _opens_at_once(c: Context, version: Version) -> bool:
    return c.policies.costs.expect_s(version.environment, "environment") < _AT_ONCE_S


def _better(c: Context, version: Version, line: NodeId, others: Sequence[NodeId]) -> list[NodeId]:
    """Which of others it may begin at: with memory that is free, if there is not enough here; or else with
    that of what is idle, if it may not do so here, or not for less."""
    store, function = c.store, version.spec.function
    is_first = next(iter(store.nodes[line].starved), None) == function
    soon_bytes = victims.coming_bytes(c, store.nodes[line])
    for idle in (False, True):
        here_bytes = room_bytes(c, line, idle=idle) + soon_bytes
        may_here = is_first and here_bytes >= _need_bytes(c, version, line)
        better = [node for node in others if room_bytes(c, node, idle=idle) >= _need_bytes(c, version, node)]
        if idle and c.policies.eviction.timely:
            better = _cheaper(c, version, line, better, may_here=may_here)
        elif may_here:
            return []
        if better:
            return better
    return []


def _cheaper(
    c: Context, version: Version, line: NodeId, others: Sequence[NodeId], *, may_here: bool
) -> list[NodeId]:
    """Where what would have to go is worth less than what would here, if it may begin here, and no more than
    the wait for those that run here."""
    if not others:
        return []
    nodes, here_bytes = c.store.nodes, _need_bytes(c, version, line)
    here_s = victims.displaced_s(c, nodes[line], here_bytes) if may_here else inf
    most_s = victims.waits_s(c, nodes[line], c.store.functions[version.spec.function], here_bytes)
    costs_s = {node: victims.displaced_s(c, nodes[node], _need_bytes(c, version, node)) for node in others}
    return [node for node, cost_s in costs_s.items() if cost_s <= most_s and cost_s < here_s]


def _is_open(c: Context, version: Version, node: NodeId, *, at_once: bool) -> bool:
    """Whether nobody waits there, and its environment stands or takes no time."""
    environment = c.store.holdings.get(key_of("environment", node, version.environment))
    stands = at_once or (environment is not None and environment.phase == "up")
    return stands and not c.store.nodes[node].starved


def room_bytes(c: Context, node: NodeId, *, idle: bool) -> int:
    """What is free there, or would be if what is `idle` went."""
    free_bytes = c.store.ledger.free_bytes(node)
    return free_bytes + victims.evictable_bytes(c, c.store.nodes[node]) if idle else free_bytes


def _need_bytes(c: Context, version: Version, node: NodeId) -> int:
    """Of a worker there, with its weights if they are not."""
    is_there = key_of("weights", node, version.weights) in c.store.holdings
    return instance_bytes(c, version) + (0 if is_there else weight_bytes(version))


def _height(c: Context, version: Version, node: NodeId, *, at_once: bool) -> int:
    """How much of the ladder exists there for a worker. A climbing environment counts as worth waiting
    for, and weights in memory need not be read."""
    if not at_once:
        if node in version.staged_on:
            return _STAGED
        environment = c.store.holdings.get(key_of("environment", node, version.environment))
        if environment is None or environment.phase == "descending":
            return 0
        if environment.phase != "up":
            return _COMING
    weights = c.store.holdings.get(key_of("weights", node, version.weights))
    return _CACHED if weights is not None and weights.phase == "up" else _UP


def with_weights(c: Context, version: Version) -> Iterator[NodeId]:
    """The nodes whose memory has the version's weights or some of them, even if nothing else of it is
    there."""
    if version.shared_weights:
        for node in c.store.node_order:
            if key_of("weights", node, version.shared_weights) in c.store.holdings:
                yield node
        return
    for key in version.keys:
        if key.startswith("weights/"):
            yield c.store.holdings[key].target.node


def unopened(c: Context, version: Version, need_bytes: int) -> Node | None:
    """A node with room for the version's environment, which is not there, and so many bytes beside it: of
    a few candidates the one with most. None while the environment climbs anywhere: one after the other.
    """
    store, key = c.store, version.environment
    environments = store.environments.get(key, {})
    if len(environments) == len(store.node_order):
        return None
    latest = next(reversed(environments), None)
    if latest is not None and store.holdings[key_of("environment", latest, key)].phase == "climbing":
        return None
    free_bytes = store.ledger.free_bytes
    others = [node for node in _anywhere(c, version) if node not in environments]
    best = max(others, key=free_bytes, default=None)
    if best is None or free_bytes(best) < environment_bytes(c, key) + need_bytes:
        return None
    return store.nodes[best]


def _anywhere(c: Context, version: Version) -> dict[NodeId, None]:
    """A few nodes, whatever stands there: its homes, and others by turns."""
    order, events = c.store.node_order, c.store.events
    found = dict.fromkeys(homes(c, version))
    for offset in range(_SAMPLED):
        found[order[(events + offset) % len(order)]] = None
    return found


def homes(c: Context, version: Version) -> list[NodeId]:
    """The nodes that a function prefers, by rendezvous hashing: each node that comes or goes moves as few
    functions as can be."""
    store = c.store
    known = store.homes.get(version.spec.function)
    if known is None:
        name = version.spec.function
        weights = {node: _weight(name, node) for node in store.node_order}
        known = store.homes[name] = sorted(weights, key=lambda node: -weights[node])[:_HOMES]
    return known


def _weight(function: str, node: str) -> int:
    return crc32(f"{node}|{function}".encode())
