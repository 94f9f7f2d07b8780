"""The controller's side of leases: which instance is lent to which gateway, and its return.

The gateway's side is leases.py.
"""

from __future__ import annotations

from glowplug.control import capacity
from glowplug.control.context import Context
from glowplug.control.learning import learn_run
from glowplug.control.records import Instance, LeaseState, Version
from glowplug.core.commands import Lease, Revoke
from glowplug.core.events import LeaseReport
from glowplug.core.ids import GatewayId


def lend(c: Context, instance: Instance) -> bool:
    """Lends an instance to the gateway that used it last: an idle one, or one with room beside its requests.

    False when there is no such gateway, or no room. The caller puts the instance into its index.
    """
    if instance.gateway is None or instance.lease is not None or not c.settings.lends:
        return False
    room = _room(instance, c.version_of(instance).slots)
    if room < 1:
        return False
    instance.lease = LeaseState(gateway=instance.gateway, expires_s=0.0)
    _grant(c, instance, instance.lease, room)
    return True


def lend_idle(c: Context, version: Version, gateway: GatewayId) -> None:
    """Who sends more than one worker runs at once should know of those that have nothing to do."""
    for number in version.idle:
        c.store.instances[number].gateway = gateway
        c.idled[number] = None


def _room(instance: Instance, wanted: int) -> int:
    """Of `wanted` slots those that can be lent beside what was bound, the overflow counted in."""
    return min(wanted, wanted + capacity.overflow(wanted) - len(instance.bound))


def widen(c: Context, instance: Instance, most: int) -> None:
    """Requests queue although the instance is lent: its gateway may send more at once."""
    lease = instance.lease
    if lease is not None and not lease.revoking and lease.slots < most:
        room = _room(instance, min(most, 2 * lease.slots))
        if room > lease.slots:
            _grant(c, instance, lease, room)


def _grant(c: Context, instance: Instance, lease: LeaseState, lent: int) -> None:
    version = c.version_of(instance)
    lease.slots = lent
    lease.expires_s = c.now_s + c.settings.lease_s
    c.emit(
        Lease(
            id=c.command_id(),
            gateway=lease.gateway,
            function=instance.function,
            instance=instance.id,
            slots=lent,
            expires_s=lease.expires_s,
            at_once=version.at_once,
            patience_s=version.patience_s,
        )
    )
    # A gateway gives an expired lease back by itself; one that stays silent for a life longer is gone.
    c.set_timer(f"lease:{instance.id}", lease.expires_s + c.settings.lease_s)


def revoke(c: Context, instance: Instance) -> None:
    """Asks for the lease back; its final report says when the instance is free."""
    lease = instance.lease
    if lease is None or lease.revoking:
        return
    lease.revoking = True
    c.emit(Revoke(id=c.command_id(), gateway=lease.gateway, instance=instance.id))
    patience_s = c.version_of(instance).spec.declaration.timeout_s + c.settings.cancel_grace_s
    c.set_timer(f"lease:{instance.id}", c.now_s + patience_s)


def drop(c: Context, instance: Instance) -> None:
    """The instance is gone or going: the lease is void, whatever the gateway says later."""
    lease = instance.lease
    if lease is None:
        return
    if not lease.revoking:
        c.emit(Revoke(id=c.command_id(), gateway=lease.gateway, instance=instance.id))
    instance.lease = None
    c.clear_timer(f"lease:{instance.id}")


def take_report(c: Context, instance: Instance, event: LeaseReport) -> int:
    """Counts what was done under a lease, and renews it past half its life or takes it back. Returns the
    count."""
    lease = instance.lease
    if lease is None or lease.gateway != event.gateway:
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
    instance.used_s = max(instance.used_s, event.last_s)
    lease.in_flight_before, lease.in_flight, lease.stuck = lease.in_flight, event.in_flight, event.stuck
    if event.in_flight > version.spec.declaration.target_concurrency:
        lend_idle(c, version, event.gateway)
    if event.final:
        if not lease.revoking and not count:
            # It expired unused: not lent again before somebody asks.
            instance.gateway = None
        instance.lease = None
        c.clear_timer(f"lease:{instance.id}")
    elif not lease.revoking:
        _renew(c, instance, lease)
    return count


def _renew(c: Context, instance: Instance, lease: LeaseState) -> None:
    """Past half its life, or as soon as the slots are far from what the measured cost asks for.

    A lease that was widened stays so while that many are in flight.
    """
    version = c.version_of(instance)
    wanted, most = version.slots, version.most_slots
    if lease.expires_s - c.now_s < c.settings.lease_s / 2:
        if lease.in_flight > wanted:
            wanted = min(most, max(wanted, lease.slots))
    elif lease.slots > most:
        wanted = most
    elif wanted < 2 * lease.slots:
        return
    _grant(c, instance, lease, max(1, _room(instance, wanted)))
