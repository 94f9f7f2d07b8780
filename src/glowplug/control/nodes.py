"""Nodes come, go, and change what they can hold."""

from __future__ import annotations

from glowplug.control import holdings, instances
from glowplug.control.context import Context
from glowplug.control.fleet import devices
from glowplug.control.records import Node
from glowplug.core.events import NodeJoined, NodeLost, PressureChanged
from glowplug.core.ids import InstanceId, NodeId

_FROM_THE_TOP = {"part": 0, "instance": 1, "version": 2, "build": 3, "weights": 4, "environment": 5}


def on_joined(c: Context, event: NodeJoined) -> None:
    """A node that joins again has lost what it held."""
    number = NodeId(event.spec.node)
    if number in c.store.nodes:
        _forget(c, number, "it joined again")
    c.store.nodes[number] = Node(number, event.spec.cores, event.spec.budget_bytes)
    c.store.node_order.append(number)
    c.store.homes.clear()
    c.store.ledger.open(number, event.spec.budget_bytes)
    for device in event.spec.devices:
        devices.join(c, number, device)
    for function in list(c.store.stranded):
        c.touch(function)
    c.store.stranded.clear()
    for line in c.store.lines:
        c.touch(next(iter(c.store.nodes[line].starved)))
    for node in c.store.nodes.values():
        for function in node.patient:
            c.touch(function)
    c.build_check = True


def on_lost(c: Context, event: NodeLost) -> None:
    if event.node in c.store.nodes:
        _forget(c, event.node, event.why or "it was lost")


def on_pressure(c: Context, event: PressureChanged) -> None:
    if event.node in c.store.nodes:
        c.store.ledger.open(event.node, event.budget_bytes)
        c.freed[event.node] = None
        if c.store.fleet.devices:
            _reconsider(c, event.node)


def _reconsider(c: Context, number: NodeId) -> None:
    """What did not fit there beside what others had of its memory may do so now."""
    for version in c.store.versions.values():
        if number in version.unfit_on:
            del version.unfit_on[number]
            c.touch(version.spec.function)


def _forget(c: Context, number: NodeId, why: str) -> None:
    """Everything there is gone: running requests are rejected, builds start again elsewhere."""
    store = c.store
    node = store.nodes[number]
    for device in [each.id for each in store.fleet.devices.values() if each.node == number]:
        devices.leave(c, device, f"node {number}: {why}")
    for key in sorted(node.keys, key=lambda k: _FROM_THE_TOP[k.partition("/")[0]]):
        holding = store.holdings[key]
        if holding.target.kind == "instance":
            instance = store.instances[InstanceId(int(holding.target.key))]
            instance.draining = True
            instances.end(c, instance, "worker_died", f"node {number}: {why}", permanent=False)
            continue
        holdings.remove(c, holding)
        version = store.versions.get(holding.version) if holding.version is not None else None
        was_at_work = holding.target.kind == "build" and holding.phase == "climbing"
        if was_at_work and version is not None and version.state == "building":
            version.state = "pending"
            store.building.pop(version.spec.version, None)
            store.build_queue = {version.spec.version: None, **store.build_queue}
    for function in (*node.starved, *node.patient):
        c.touch(function)
        if function in store.functions and store.functions[function].starved_at == number:
            store.functions[function].starved_at = None
    store.lines.pop(number, None)
    del store.nodes[number]
    store.node_order.remove(number)
    store.homes.clear()
    store.ledger.close(number)
    for function in store.preloads.forget_node(number):
        c.touch(function)
    c.policies.preload.lost(number)
    c.policies.eviction.forget(number)
    c.freed.pop(number, None)
    c.build_check = True
