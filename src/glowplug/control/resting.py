"""What becomes of an instance with a free slot when no request waits: it is lent, kept for a while, or let
go."""

from __future__ import annotations

from math import inf

from glowplug.control import bindings, instances, lending
from glowplug.control.context import Context
from glowplug.control.records import Function, Instance, Version
from glowplug.control.views import InstanceView
from glowplug.control.wants import most_workers, prewarm_of, replicas_wanted
from glowplug.core.ladder import Step

_LOOK_AGAIN_S = 1.0
"""At the earliest, at an instance that was in use when its time had come."""


def rest(c: Context, instance: Instance) -> None:
    """Lends, keeps, or (if it is idle) lets go an instance that could take a request while none waits."""
    function, version = c.store.functions[instance.function], c.store.versions[instance.version]
    if instance.bound:
        if instance.device is not None:
            return
        climbs = c.holding_of(instance).phase == "climbing"
        if instance.version == function.active and instance.host is None and not (function.queue or climbs):
            _rest_busy(c, instance, function, version)
        return
    if instance.version not in (function.active, function.next):
        instances.drain(c, instance, "superseded")
        return
    on_device = instance.device is not None
    if instance.version != function.active or (function.queue.length and not on_device):
        return
    if instance.host is not None:
        return
    if c.settings.eager_stage and function.done and not version.staged_on:
        function.stage_wanted = True
        c.touch(function.id)
    if on_device:
        return
    held = function.hold is not None and function.hold < Step.PARKED
    if held or version.live > max(most_workers(c, function, version), replicas_wanted(c, function)):
        instances.drain(c, instance, "not wanted")
        return
    if version.live > replicas_wanted(c, function):
        until_s = _keep_until_s(c, instance, version)
        if until_s <= c.now_s and not bindings.has_busy_guest(c, instance):
            instances.drain(c, instance, "idle")
            return
        _look_again(c, instance, until_s)
    if lending.lend(c, instance):
        bindings.reindex(c, instance)


def _rest_busy(c: Context, instance: Instance, function: Function, version: Version) -> None:
    """Lends it while something runs in it: otherwise a worker that is never idle would never be lent."""
    held = function.hold is not None and function.hold < Step.PARKED
    if held or version.live > max(most_workers(c, function, version), replicas_wanted(c, function)):
        return
    if version.live > replicas_wanted(c, function):
        until_s = _keep_until_s(c, instance, version)
        if until_s <= c.now_s:
            return
        _look_again(c, instance, until_s)
    if lending.lend(c, instance):
        bindings.reindex(c, instance)


def _look_again(c: Context, instance: Instance, at_s: float) -> None:
    """One timer per instance; it is set again when it fires or comes too late, not at every use."""
    if at_s < c.store.timers.get(f"keep:{instance.id}", inf):
        c.set_timer(f"keep:{instance.id}", at_s)


def _keep_until_s(c: Context, instance: Instance, version: Version) -> float:
    declared = version.spec.declaration
    if version.live <= 1 and (declared.pin or declared.preload == "always"):
        return inf
    until_s = prewarm_of(c, version).keep_until_s(InstanceView(instance, version), c.now_s)
    if instance.id in c.store.preloads.unused:
        if c.policies.preload.ends_unused:
            return inf
        # Its function's policy may keep none, or none yet; but this one was not loaded to go at once.
        until_s = max(until_s, instance.used_s + version.spec.declaration.keep_warm_s)
    return until_s


def on_keep_timer(c: Context, instance: Instance) -> None:
    """Idle for long enough? One that was used under its lease since is looked at again later."""
    version = c.version_of(instance)
    if version.live <= replicas_wanted(c, c.function_of(instance)):
        return
    until_s = _keep_until_s(c, instance, version)
    used = not bindings.is_unused(instance) or bindings.has_busy_guest(c, instance)
    if until_s <= c.now_s and not used:
        instances.drain(c, instance, "idle")
    else:
        _look_again(c, instance, max(until_s, c.now_s + _LOOK_AGAIN_S))
