"""The tier below devices: weights in their node's memory, from which a load is a copy and not a read.

It is the same holding as for functions on the CPU, under the same budget and eviction policy. But a model on
a device does not stand on it: it is needed while it is copied, and kept for the next time.
"""

from __future__ import annotations

from glowplug.control import growth, holdings, memory, offers
from glowplug.control.context import Context
from glowplug.control.fleet import places
from glowplug.control.records import Instance, Node, Version, key_of
from glowplug.control.sizes import weight_bytes
from glowplug.control.worth import demand, needed_soon, worth_below_devices
from glowplug.core.ids import NodeId


def expect(c: Context, node: Node, version: Version) -> None:
    """A load from the disk begins: its weights are entered if there is room for them, else less worthy ones
    go, so that there is room when it has ended."""
    size_bytes = weight_bytes(version)
    key = key_of("weights", node.id, version.spec.version)
    if not size_bytes or key in c.store.holdings or node.starved:
        return
    ledger = c.store.ledger
    short_bytes = size_bytes - ledger.free_bytes(node.id)
    if short_bytes <= 0:
        growth.hold_weights(c, version, node.id)
        return
    short_bytes -= ledger.leaving[node.id]
    if short_bytes > 0:
        needed = needed_soon(c, version.spec.function, c.policies.eviction)
        worth = worth_below_devices(c, version, demand(c, version), needed)
        limit = min(c.policies.eviction.score(worth), c.policies.eviction.pinned_from)
        memory.evict(c, node, short_bytes, (), limit, whole=True)


def keep(c: Context, instance: Instance) -> None:
    """A load has ended: the weights it brought stay as long as nothing needs their room more."""
    version, holding = c.version_of(instance), c.holding_of(instance)
    node = c.store.nodes[NodeId(instance.node)]
    key = key_of("weights", node.id, version.spec.version)
    if not node.starved and weight_bytes(version) <= c.store.ledger.free_bytes(node.id):
        growth.hold_weights(c, version, node.id)
    weights = c.store.holdings.get(key)
    if weights is not None and weights.phase == "up" and node.id not in version.cached_on:
        version.cached_on[node.id] = None
        c.revalue(version.spec.function)
        places.reoffer(c, version.spec.function, node.id)
    holdings.stand_alone(c, holding, growth.needs_of(version, node.id)[0])
    if weights is not None:
        offers.reconsider(c, weights)
