"""Timers that fired: which key belongs to what."""

from __future__ import annotations

from collections.abc import Callable

from glowplug.control import instances, lending, outcomes, pump, requests, resting
from glowplug.control.context import Context
from glowplug.control.fleet import devices
from glowplug.control.preloading import drive
from glowplug.core.events import TimerFired
from glowplug.core.ids import CommandId, DeviceId, FunctionId, GatewayId, InstanceId, RequestId


def on_fired(c: Context, event: TimerFired) -> None:
    """Ignored when it was set again or cleared since: the firing and the change crossed."""
    at_s = c.store.timers.get(event.key)
    if at_s is None or c.now_s < at_s - outcomes.EARLY_S:
        return
    del c.store.timers[event.key]
    kind, _, name = event.key.partition(":")
    _HANDLERS[kind](c, name)


def _lease(c: Context, name: str) -> None:
    """The gateway said nothing for a whole life of the lease, or did not give it back: it is gone."""
    number, _, gateway = name.partition(":")
    instance = c.store.instances.get(InstanceId(int(number)))
    if instance is not None and GatewayId(gateway) in instance.leases:
        lending.drop(c, instance)
        instances.kill(c, instance, "its gateway fell silent")
        c.touch(instance.function)


def _keep(c: Context, name: str) -> None:
    instance = c.store.instances.get(InstanceId(int(name)))
    if instance is not None and not instance.draining:
        resting.on_keep_timer(c, instance)


def _retry(c: Context, name: str) -> None:
    function = c.store.functions.get(FunctionId(name))
    if function is not None and c.now_s < function.retry_at_s:
        c.retry_by(function.id, function.retry_at_s)  # somebody wanted to look sooner
    c.touch(FunctionId(name))
    c.build_check = True


_HANDLERS: dict[str, Callable[[Context, str], None]] = {
    "climb": lambda c, name: outcomes.on_climb_timer(c, CommandId(int(name))),
    "descend": lambda c, name: outcomes.on_descend_timer(c, CommandId(int(name))),
    "deadline": lambda c, name: requests.on_deadline(c),
    "cancel": lambda c, name: requests.on_cancel_overdue(c, RequestId(int(name))),
    "keep": _keep,
    "lease": _lease,
    "prewarm": lambda c, name: pump.on_prewarm_timer(c, FunctionId(name)),
    "build": lambda c, name: setattr(c, "build_check", True),
    drive.TIMER: lambda c, name: setattr(c, "preload_check", True),
    "retry": _retry,
    "device": lambda c, name: devices.on_timer(c, DeviceId(name)),
}
