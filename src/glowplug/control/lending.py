"""The controller's side of leases: which instance is lent to which gateways, and its return.

The gateway's side is leases.py.
"""

from __future__ import annotations

from glowplug.control import capacity, failures
from glowplug.control.context import Context
from glowplug.control.learning import learn_run
from glowplug.control.records import Instance, LeaseState, Version
from glowplug.core.commands import Lease, Revoke
from glowplug.core.events import LeaseReport
from glowplug.core.ids import GatewayId

_ONE_MORE_S = 0.5
"""For so long after a gateway was lent something, nobody knows yet whether its slots are too few."""


def lend(c: Context, instance: Instance) -> bool:
    """Lends an instance to the gateway that used it last: an idle one, or one with room beside its requests.

    False when there is no such gateway, or no room. The caller puts the instance into its index.
    """
    if instance.gateway is None or instance.leases or not c.settings.lends:
        return False
    return _lend(c, instance, instance.gateway, c.version_of(instance).slots)


def _lend(c: Context, instance: Instance, gateway: GatewayId, wanted: int) -> bool:
    room = _room(c, instance, gateway, wanted)
    if room < 1:
        return False
    lease = instance.leases[gateway] = LeaseState(gateway, c.now_s)
    _grant(c, instance, lease, room)
    return True


def lend_idle(c: Context, version: Version, gateway: GatewayId) -> None:
    """A gateway that sends more than one worker runs at once gets the idle instances lent, too."""
    for number in version.idle:
        c.store.instances[number].gateway = gateway
        c.idled[number] = None


def share(c: Context, version: Version, gateway: GatewayId) -> None:
    """A gateway asks about a request although instances are lent. It gets a part of some that it does not
    have.

    Its due is an even share of the instances among all gateways that have any. A gateway that has its due
    and still asks found all of that full, so it gets one more now and then. Nobody loses an instance, only
    slots: leases that a gateway does not use end by themselves. Long requests are the controller's own
    (capacity.is_shared).
    """
    if version.idle or not capacity.is_shared(version.most_slots):
        return
    instances = list(map(c.store.instances.__getitem__, version.leased))
    others = [each for each in instances if gateway not in each.leases and not _is_called_back(each)]
    if not others:
        return
    gateways = {gateway}.union(*(instance.leases for instance in instances))
    held = [each.leases[gateway] for each in instances if gateway in each.leases]
    missing = max(1, len(instances) // len(gateways)) - len(held)
    if missing < 1:
        if any(lease.since_s > c.now_s - _ONE_MORE_S for lease in held):
            return
        missing = 1
    # A gateway takes the older of equals first: so the last are those that are used least.
    others.sort(key=lambda instance: (len(instance.leases), -instance.id))
    for instance in others[:missing]:
        _divide(c, instance, version, gateway)


def _is_called_back(instance: Instance) -> bool:
    return any(lease.revoking for lease in instance.leases.values())


def _divide(c: Context, instance: Instance, version: Version, gateway: GatewayId) -> None:
    """Lends a part of the instance to one more gateway. A gateway that has more than that part keeps it."""
    count = len(instance.leases) + 1
    for lease in instance.leases.values():
        whole = version.slots if lease.slots <= version.slots else version.most_slots
        if lease.slots > _part(whole, count):
            lease.slots = _part(whole, count)
            _tell(c, instance, lease)
    _lend(c, instance, gateway, _part(version.slots, count))


def _part(slots: int, count: int) -> int:
    """What each of so many gateways is lent at most."""
    return max(1, slots // count)


def _room(c: Context, instance: Instance, gateway: GatewayId, wanted: int) -> int:
    """How many of `wanted` slots can be lent to a gateway. Slots of other gateways, bound requests and, where
    there is one, the overflow are taken off."""
    lease = instance.leases.get(gateway)
    lent = instance.lent + wanted - (0 if lease is None else lease.slots)
    shared = capacity.is_shared(c.version_of(instance).most_slots)
    beside = capacity.overflow(lent, len(c.store.gateways)) if shared else 0
    return min(wanted, wanted + beside - len(instance.bound))


def widen(c: Context, instance: Instance, gateway: GatewayId) -> None:
    """Requests queue although the instance is lent to their gateway: it may send more at once."""
    lease = instance.leases[gateway]
    most = _part(c.version_of(instance).most_slots, len(instance.leases))
    if not lease.revoking and lease.slots < most:
        room = _room(c, instance, gateway, min(most, 2 * lease.slots))
        if room > lease.slots:
            _grant(c, instance, lease, room)


def _grant(c: Context, instance: Instance, lease: LeaseState, lent: int) -> None:
    lease.slots = lent
    lease.expires_s = c.now_s + c.settings.lease_s
    _tell(c, instance, lease)
    # A gateway gives an expired lease back by itself; one that stays silent for a life longer is gone.
    c.set_timer(_timer(instance, lease), lease.expires_s + c.settings.lease_s)


def _tell(c: Context, instance: Instance, lease: LeaseState) -> None:
    version = c.version_of(instance)
    c.emit(
        Lease(
            id=c.command_id(),
            gateway=lease.gateway,
            function=instance.function,
            instance=instance.id,
            slots=lease.slots,
            expires_s=lease.expires_s,
            at_once=version.at_once,
            patience_s=version.patience_s,
        )
    )


def _timer(instance: Instance, lease: LeaseState) -> str:
    return f"lease:{instance.id}:{lease.gateway}"


def revoke(c: Context, instance: Instance) -> None:
    """Asks for the leases back; their final reports say when the instance is free."""
    patience_s = c.version_of(instance).spec.declaration.timeout_s + c.settings.cancel_grace_s
    for lease in instance.leases.values():
        if not lease.revoking:
            lease.revoking = True
            c.emit(Revoke(id=c.command_id(), gateway=lease.gateway, instance=instance.id))
            c.set_timer(_timer(instance, lease), c.now_s + patience_s)


def drop(c: Context, instance: Instance) -> None:
    """The instance is gone or going: its leases are void, whatever a gateway says later."""
    for lease in instance.leases.values():
        if not lease.revoking:
            c.emit(Revoke(id=c.command_id(), gateway=lease.gateway, instance=instance.id))
        c.clear_timer(_timer(instance, lease))
    instance.leases.clear()


def take_report(c: Context, instance: Instance, event: LeaseReport) -> int:
    """Counts what was done under a lease, and renews it past half its life or takes it back. Returns the
    count."""
    lease = instance.leases.get(event.gateway)
    if lease is None:
        return 0
    function, version = c.function_of(instance), c.version_of(instance)
    count = event.done + event.failed
    if count:
        function.arrived += count
        function.done += event.done
        function.failed += event.failed
        function.hold = None
        c.policies.arrivals.observe(function.id, c.now_s, count)
        c.policies.arrivals.observe(version.spec.environment_key, c.now_s, count)
        learn_run(c, version, event.busy_s / count, count)
        instance.uses += count
        failures.forgive(c, function, ahead=instance.ahead)
    instance.used_s = max(instance.used_s, event.last_s)
    lease.in_flight_before, lease.in_flight, lease.stuck = lease.in_flight, event.in_flight, event.stuck
    if event.in_flight > version.spec.declaration.target_concurrency:
        lend_idle(c, version, event.gateway)
    if event.final:
        if not lease.revoking and not count:
            # It expired unused: not lent again before somebody asks.
            instance.gateway = None
        del instance.leases[event.gateway]
        c.clear_timer(_timer(instance, lease))
    elif not lease.revoking:
        _renew(c, instance, lease)
    elif event.called_back:
        # It takes no more, so what has ended there is the controller's (views.spare).
        lease.slots = event.in_flight
    return count


def _renew(c: Context, instance: Instance, lease: LeaseState) -> None:
    """Past half its life, or as soon as the slots are far from what the measured cost asks for.

    A lease that was widened stays wide while so many requests are in flight.
    """
    version, count = c.version_of(instance), len(instance.leases)
    wanted, most = _part(version.slots, count), _part(version.most_slots, count)
    if lease.expires_s - c.now_s < c.settings.lease_s / 2:
        if lease.in_flight > wanted:
            wanted = min(most, max(wanted, lease.slots))
    elif lease.slots > most:
        wanted = most
    elif wanted < 2 * lease.slots:
        return
    _grant(c, instance, lease, max(1, _room(c, instance, lease.gateway, wanted)))
