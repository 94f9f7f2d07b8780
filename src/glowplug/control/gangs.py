"""Gangs: instances whose model is spread over several workers, admitted and sent away as one.

The head is an instance as any other. Each part is a holding of its own, with its own weights; the head stands
on its parts, so none of them is ever given away alone. See docs/decisions/060.
"""

from __future__ import annotations

from glowplug.control import holdings
from glowplug.control.context import Context
from glowplug.control.records import Holding, Instance, Version, key_of
from glowplug.control.sizes import instance_bytes
from glowplug.core.commands import AdmitGang, Target
from glowplug.core.ids import InstanceId, NodeId
from glowplug.core.ladder import Step
from glowplug.core.specs import PartFacts


def parts_of(version: Version) -> tuple[PartFacts, ...]:
    return version.facts.parts if version.facts is not None else ()


def weights_keys(version: Version, node: NodeId) -> tuple[str, ...]:
    """Of the parts' weights there, held or not, in the order of the parts."""
    names = (f"{version.spec.version}.{number}" for number, _ in enumerate(parts_of(version), 1))
    return tuple(key_of("weights", node, name) for name in names)


def need_bytes(c: Context, version: Version, node: NodeId) -> int:
    """What all parts of one more gang would take there, beside its head."""
    if not parts_of(version):
        return 0
    return whole_bytes(c, version) - sum(
        part.weight_bytes
        for part, key in zip(parts_of(version), weights_keys(version, node), strict=True)
        if key in c.store.holdings
    )


def whole_bytes(c: Context, version: Version) -> int:
    """The same where nothing of it is held yet."""
    return sum(instance_bytes(c, version) + part.weight_bytes for part in parts_of(version))


def leaving_weights(c: Context, version: Version, node: NodeId) -> Holding | None:
    """Weights of a part that are on their way out: a gang has to wait for that."""
    found = (c.store.holdings.get(key) for key in weights_keys(version, node))
    return next((each for each in found if each is not None and each.phase == "descending"), None)


def hold_weights(c: Context, version: Version, node: NodeId, *, forced: bool = False) -> None:
    """Enters the parts' weights, as far as they are not there. They are not offered for eviction here."""
    for number, (part, key) in enumerate(zip(parts_of(version), weights_keys(version, node), strict=True), 1):
        if key not in c.store.holdings and part.weight_bytes:
            target = Target("weights", node, f"{version.spec.version}.{number}")
            holdings.enter(c, target, Step.LOCAL, part.weight_bytes, spec=version.spec, forced=forced)


def admit(c: Context, version: Version, node: NodeId, head: InstanceId, rank: int) -> tuple[str, ...]:
    """Enters all parts of a gang, for which there is room. Returns their keys, on which its head stands."""
    hold_weights(c, version, node)
    environment = key_of("environment", node, version.spec.environment_key)
    own_bytes = instance_bytes(c, version)
    keys = []
    for number, weights in enumerate(weights_keys(version, node), 1):
        target = Target("part", node, f"{head}.{number}")
        holding = holdings.enter(
            c, target, Step.PARKED, own_bytes, spec=version.spec, needs=(environment, weights), priority=rank
        )
        keys.append(holding.key)
    return tuple(keys)


def announce(c: Context, instance: Instance, version: Version) -> None:
    """Before the climbs of a gang: all of it has been admitted."""
    command = AdmitGang(
        id=c.command_id(),
        node=instance.node,
        head=instance.id,
        workers=1 + len(instance.parts),
        spec=version.spec,
    )
    c.emit(command)


def climb(c: Context, instance: Instance, version: Version) -> None:
    for key in instance.parts:
        holdings.climb(c, c.store.holdings[key], version)


def descend(c: Context, instance: Instance, why: str) -> None:
    """Sends the parts down with their head."""
    for key in instance.parts:
        holding = c.store.holdings.get(key)
        if holding is not None and holding.phase != "descending":
            holdings.descend(c, holding, Step.LOCAL, why)


def leave(c: Context, instance: Instance) -> None:
    """The gang will go as soon as it can: its memory is on its way out."""
    for key in (instance.key, *instance.parts):
        if key in c.store.holdings:
            c.store.ledger.leave(key)


def head_of(c: Context, part: Holding) -> Instance | None:
    return c.store.instances.get(InstanceId(int(part.target.key.partition(".")[0])))


def check_gangs(c: Context) -> None:
    """Raises AssertionError naming the first gang that is neither whole nor on its way out."""
    store = c.store
    members: dict[InstanceId, list[str]] = {}
    for key, holding in store.holdings.items():
        if holding.target.kind != "part":
            continue
        head = head_of(c, holding)
        if head is None:
            assert holding.phase == "descending", f"{key} has no head, and stays"
            continue
        assert key in head.parts, f"{key} is no part of its head"
        assert holding.target.node == head.node, f"{key} is not where its head is"
        members.setdefault(head.id, []).append(key)
    for number, instance in store.instances.items():
        leaves = c.holding_of(instance).phase == "descending"
        mine = members.get(number, [])
        if leaves:
            assert all(store.holdings[key].phase == "descending" for key in mine), f"{number} leaves alone"
        else:
            assert tuple(mine) == instance.parts, f"gang {number} is not whole: {mine}"
            assert all(store.holdings[key].phase != "descending" for key in mine), f"{number} stays alone"
