"""Sandboxes: warm instances whose limit is larger than what is loaded in them, and their guests."""

from __future__ import annotations

from math import inf

from glowplug.control import gangs, growth, holdings, instances
from glowplug.control.context import Context
from glowplug.control.records import Function, Instance, Version, key_of
from glowplug.control.sizes import loaded_bytes
from glowplug.core.commands import Target
from glowplug.core.ids import InstanceId
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority


def is_sandbox(c: Context, instance: Instance) -> bool:
    """Whether others may be loaded inside it: it is up, keeps its own limit, and is not leaving."""
    if c.settings.substrate != "process" or instance.host is not None or instance.device is not None:
        return False
    return instance.slot in ("idle", "busy")


def room_bytes(c: Context, host: Instance) -> int:
    """Its limit, less what is loaded in it, for its owner and for guests."""
    taken_bytes = loaded_bytes(c.version_of(host)) if host.loaded else 0
    for number in c.store.guests.get(host.id, ()):
        taken_bytes += loaded_bytes(c.version_of(c.store.instances[number]))
    return c.store.ledger.held_bytes(host.key) - taken_bytes


def yields_bytes(c: Context, host: Instance) -> int:
    """What its owner's model takes of it, if guests may have that."""
    version = c.version_of(host)
    declared = version.spec.declaration
    kept = not host.loaded or host.slot != "idle" or declared.pin or declared.preload == "always"
    return 0 if kept or not c.settings.guests_displace else loaded_bytes(version)


def is_crowded(c: Context, host: Instance) -> bool:
    """Whether guests that answer leave no room for its owner's model."""
    guests = (c.store.instances[number] for number in c.store.guests.get(host.id, ()))
    busy_bytes = sum(loaded_bytes(c.version_of(guest)) for guest in guests if guest.bound)
    return c.store.ledger.held_bytes(host.key) - busy_bytes < loaded_bytes(c.version_of(host))


def admit(c: Context, function: Function, version: Version, host: Instance) -> Instance | None:
    """Starts loading the function inside an idle sandbox, in place of its owner's model where there is no
    room beside it. None when there is no room at all, or nothing to fork, and for a gang, which needs
    several."""
    if gangs.parts_of(version) or not is_sandbox(c, host) or host.slot != "idle":
        return None
    short_bytes = loaded_bytes(version) - room_bytes(c, host)
    if short_bytes > yields_bytes(c, host):
        return None
    environment = key_of("environment", host.node, version.spec.environment_key)
    standing = c.store.holdings.get(environment)
    if standing is None or standing.phase != "up":
        growth.ensure_environment(c, c.store.nodes[host.node], function, version, limit=-inf)
        return None
    target = Target("instance", host.node, str(c.instance_id()))
    holding = holdings.enter(
        c,
        target,
        Step.PARKED,
        0,
        spec=version.spec,
        needs=(environment,),
        priority=Priority.BACKGROUND,
        forced=True,
    )
    c.store.guests.setdefault(host.id, {})[InstanceId(int(target.key))] = None
    displaces = host.id if short_bytes > 0 else None
    host.loaded = host.loaded and displaces is None
    instances.launch(c, holding, version, Step.IMPORTED, None, prime=True, host=host, displaces=displaces)
    return c.store.instances[InstanceId(int(target.key))]
