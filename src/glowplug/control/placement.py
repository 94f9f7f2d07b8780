"""Which node a version climbs at: where most of the ladder stands already, then where most memory is free."""

from __future__ import annotations

from itertools import islice

from glowplug.control.context import Context
from glowplug.control.estimates import instance_bytes
from glowplug.control.records import Node, Version
from glowplug.core.ids import NodeId

_SAMPLED = 4


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
    for node in (*islice(version.staged_on, 2), *islice(environments, 2)):
        candidates[node] = None
    for offset in range(_SAMPLED):
        candidates[order[(store.events + offset) % len(order)]] = None
    need_bytes = instance_bytes(c, version)

    def rank(node: NodeId) -> tuple[bool, int, int]:
        free_bytes = store.ledger.free_bytes(node)
        fits = free_bytes + c.policies.eviction.offered(node) >= need_bytes
        height = 2 if node in version.staged_on else 1 if node in environments else 0
        return not fits, -height, -free_bytes

    return store.nodes[min(candidates, key=rank)]
