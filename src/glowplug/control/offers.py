"""What may be evicted, with its worth: shared holdings on which nothing stands, and idle workers.

Many models that become idle on a device are at work again before the event is settled. So their worth
there and in the node's memory is computed only when somebody asks what may go, or else at the end
(`settle`).
"""

from __future__ import annotations

from glowplug.control.context import Context
from glowplug.control.fleet import places
from glowplug.control.records import Holding, Instance, Node, Version, key_of
from glowplug.control.worth import worth, worth_of_worker
from glowplug.policy.eviction import Worth


def settle(c: Context) -> None:
    """To be called before an eviction policy is asked for anything."""
    unoffered, instances = c.unoffered, c.store.instances
    while unoffered:
        instance = instances[next(iter(unoffered))]
        del unoffered[instance.id]
        offer_worker(c, instance)
        device = places.device_of(c, instance)
        if device is not None:
            places.offer(c, device, instance.function)


def reconsider(c: Context, holding: Holding) -> None:
    """Offers a shared holding for eviction when nothing stands on it; instances are offered elsewhere, with
    their parts."""
    if holding.target.kind in ("instance", "part", "build"):
        return
    if holding.phase == "up" and holding.key not in c.store.dependents:
        offer(c, holding)
    else:
        c.reweigh()
        c.policies.eviction.withdraw(holding.key)


def reconsider_version(c: Context, version: Version) -> None:
    """Its zygotes and its weights, those that it shares too: it is the active or the next one now, or was."""
    keys = list(version.keys)
    if version.shared_weights:
        keys += [key_of("weights", node, version.shared_weights) for node in c.store.node_order]
    for key in keys:
        if key in c.store.holdings:
            reconsider(c, c.store.holdings[key])


def offer(c: Context, holding: Holding) -> None:
    _offer(c, holding.key, c.store.nodes[holding.target.node], worth(c, holding))


def offer_worker(c: Context, instance: Instance) -> None:
    """As offer, of an idle instance."""
    _offer(c, instance.key, c.store.nodes[instance.node], worth_of_worker(c, instance))


def _offer(c: Context, key: str, node: Node, worth: Worth) -> None:
    c.reweigh()
    c.policies.eviction.offer(key, node.id, worth)
    ledger = c.store.ledger
    is_pressed = ledger.budget[node.id] < node.granted_bytes and ledger.free_bytes(node.id) < 0
    if node.patient or c.store.lines or is_pressed:
        c.freed[node.id] = None
