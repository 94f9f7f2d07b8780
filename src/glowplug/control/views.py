"""Live, read-only views for policies: properties over the records, nothing copied."""

from __future__ import annotations

from itertools import chain, islice
from math import inf
from typing import NamedTuple

from glowplug.control import capacity
from glowplug.control.context import Context
from glowplug.control.preloading import sandboxes
from glowplug.control.records import Function, Instance, Version
from glowplug.control.wants import most_workers
from glowplug.core.ids import FunctionId, InstanceId
from glowplug.core.ladder import Step

_LOOKED_AT = 8
"""Of the busy and of the lent instances each: those that were sent something the longest ago come first."""
_OVERDUE_SHARE = 0.25


class FunctionView:
    """One function, for dispatch. Meets policy.dispatch.DispatchView.

    `growing` says that a climb was asked for in vain, be it that its environment climbs first, be it that
    memory is waited for: there is no use in asking again.
    """

    __slots__ = ("_at_once", "_c", "_function", "_version", "growing")

    def __init__(self, c: Context, function: Function, version: Version) -> None:
        self._c = c
        self._function = function
        self._version = version
        self._at_once = version.spec.declaration.target_concurrency
        self.growing = False

    @property
    def function(self) -> FunctionId:
        return self._function.id

    @property
    def idle(self) -> InstanceId | None:
        idle, settings = self._version.idle, self._c.settings
        if not settings.keeps_loaded or settings.guests_displace:
            instances = self._c.store.instances
            loaded = next((number for number in idle if instances[number].loaded), None)
            if loaded is not None:
                return loaded
            if settings.guests_displace:
                return next((n for n in idle if not sandboxes.is_crowded(self._c, instances[n])), None)
        return next(reversed(idle), None)

    @property
    def spare(self) -> tuple[InstanceId, float] | None:
        found: InstanceId | None = None
        soonest_s = inf
        room, shared = self._version.slots, capacity.is_shared(self._version.most_slots)
        for instance in self._used():
            most = room
            if instance.leases:
                lent = instance.lent
                most = capacity.overflow(lent, len(self._c.store.gateways)) if shared else room - lent
            if len(instance.bound) < most and not self._is_stuck(instance):
                starts_s = self._starts_in_s(instance)
                if starts_s < soonest_s:
                    found, soonest_s = instance.id, starts_s
        return None if found is None else (found, soonest_s)

    @property
    def climbing(self) -> InstanceId | None:
        return next(iter(self._version.climbing), None)

    @property
    def climbing_left_s(self) -> float:
        climbing = self.climbing
        return inf if climbing is None else self._climb_left_s(self._c.store.instances[climbing])

    @property
    def free_in_s(self) -> float:
        return min(map(self._starts_in_s, self._used()), default=inf)

    @property
    def serving(self) -> int:
        return self._version.live * self._at_once

    @property
    def run_s(self) -> float:
        return self._c.policies.costs.expect_s(self._version.spec.version, "run")

    @property
    def can_grow(self) -> bool:
        if self.growing:
            return False
        return self._version.live < most_workers(self._c, self._function, self._version)

    @property
    def grow_s(self) -> float:
        version, costs = self._version, self._c.policies.costs
        spec = version.spec
        if version.staged_on:
            return costs.climb_s(spec.version, Step.STAGED)
        climb_s = costs.climb_s(spec.version, Step.IMPORTED)
        if spec.environment_key in self._c.store.environments:
            return climb_s
        return climb_s + costs.expect_s(spec.environment_key, "environment")

    @property
    def pressed(self) -> bool:
        """Whether requests wait in the sockets of every lent instance, as far as its gateway told."""
        return not self._version.idle and all(
            not instance.leases or self._lent(instance) > self._at_once for instance in self._used()
        )

    def _used(self) -> chain[Instance]:
        instances, version = self._c.store.instances, self._version
        return chain(
            map(instances.__getitem__, islice(version.busy, _LOOKED_AT)),
            map(instances.__getitem__, islice(version.leased, _LOOKED_AT)),
        )

    def _lent(self, instance: Instance) -> int:
        """Requests in it under its leases. Who asks here found no free slot, so while there is a queue all
        are in use; else what was told twice in a row counts, for a burst is over before another is up."""
        if not instance.leases:
            return 0
        if self._function.queue:
            return instance.lent
        return sum(min(lease.in_flight, lease.in_flight_before) for lease in instance.leases.values())

    def _is_stuck(self, instance: Instance) -> bool:
        """What runs there takes far longer than usual: a request is better off in the queue."""
        if instance.leases and any(lease.stuck for lease in instance.leases.values()):
            return True
        return (
            len(instance.bound) >= self._version.at_once
            and self._c.now_s - instance.busy_since_s > self._version.patience_s
            and self._c.store.holdings[instance.key].phase == "up"
        )

    def _starts_in_s(self, instance: Instance) -> float:
        """Until a request that is sent there now would begin. What takes far longer than usual is expected to
        take as long again."""
        run_s, at_once = self.run_s, self._at_once
        if self._is_stuck(instance):
            since_s = instance.used_s if instance.leases else instance.busy_since_s
            return self._c.now_s - since_s
        before = len(instance.bound) + self._lent(instance)
        left_s = 0.0
        if self._c.store.holdings[instance.key].phase == "climbing":
            left_s = self._climb_left_s(instance) + (run_s if before >= at_once else 0.0)
        elif before >= at_once:
            left_s = run_s if instance.leases else self._left_s(instance.busy_since_s, run_s)
        return left_s + max(0, before - at_once) * run_s / at_once

    def _climb_left_s(self, instance: Instance) -> float:
        holding = self._c.store.holdings[instance.key]
        expected_s = self._c.policies.costs.climb_s(instance.version, instance.origin)
        return self._left_s(holding.since_s, expected_s)

    def _left_s(self, since_s: float, expected_s: float) -> float:
        """What is overdue is expected to take a share of its usual time more."""
        return max(since_s + expected_s - self._c.now_s, expected_s * _OVERDUE_SHARE)


class InstanceView:
    """One idle instance, for pre-warm. Meets policy.prewarm.KeepView."""

    __slots__ = ("_instance", "_version")

    def __init__(self, instance: Instance, version: Version) -> None:
        self._instance = instance
        self._version = version

    @property
    def function(self) -> FunctionId:
        return self._instance.function

    @property
    def used_s(self) -> float:
        return self._instance.used_s

    @property
    def keep_warm_s(self) -> float:
        return self._version.spec.declaration.keep_warm_s


class ParkedNow(NamedTuple):
    """An instance that there is not, as if it had just been parked. Meets policy.prewarm.KeepView."""

    function: FunctionId
    used_s: float
    keep_warm_s: float
