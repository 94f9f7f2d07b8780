"""Which node a version climbs at: where most of the ladder stands already, then where most memory is free,
or where what has to go for it is needed least."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from zlib import crc32

from glowplug.control import offers, victims
from glowplug.control.context import Context
from glowplug.control.records import Node, Version, key_of
from glowplug.control.sizes import environment_bytes, instance_bytes
from glowplug.core.ids import NodeId

_SAMPLED = 4
_HOMES = 4
_WEIGHED = 4
"""For at most this many equally good nodes we compute what would be evicted."""
_COMING, _UP, _CACHED, _STAGED = 1, 2, 3, 4
_AT_ONCE_S = 0.01
"""An environment expected to take less than this is no reason to prefer a node, as where processes share
nothing."""


def choose(c: Context, version: Version) -> Node | None:
    """The best of a few candidates, so that the cost does not grow with the cluster.

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
    need_bytes = instance_bytes(c, version)
    offers.settle(c)
    at_once = c.policies.costs.expect_s(version.spec.environment_key, "environment") < _AT_ONCE_S

    def rank(node: NodeId) -> tuple[bool, int, int]:
        free_bytes = store.ledger.free_bytes(node)
        fits = free_bytes + c.policies.eviction.offered(node) >= need_bytes
        return not fits, -_height(c, version, node, at_once=at_once), -free_bytes

    ranks = {node: rank(node) for node in candidates}
    best, *others = sorted(candidates, key=ranks.__getitem__)
    if not c.policies.eviction.timely or store.ledger.free_bytes(best) >= need_bytes:
        return store.nodes[best]
    as_good = [node for node in others if ranks[node][:2] == ranks[best][:2]][: _WEIGHED - 1]
    return min(
        map(store.nodes.__getitem__, (best, *as_good)),
        key=lambda node: victims.displaced_s(c, node, need_bytes),
    )


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
