"""Live, read-only views for policies: properties over the records, nothing copied."""

from __future__ import annotations

from itertools import islice
from math import inf

from glowplug.control.context import Context
from glowplug.control.estimates import most_workers
from glowplug.control.records import Function, Instance, Version
from glowplug.core.ids import InstanceId
from glowplug.core.ladder import Step

_LOOKED_AT = 8
_OVERDUE_SHARE = 0.25


class FunctionView:
    """One function, for dispatch. Meets policy.dispatch.DispatchView."""

    __slots__ = ("_c", "_function", "_version")

    def __init__(self, c: Context, function: Function, version: Version) -> None:
        self._c = c
        self._function = function
        self._version = version

    @property
    def idle(self) -> InstanceId | None:
        return next(reversed(self._version.idle), None)

    @property
    def climbing(self) -> InstanceId | None:
        return next(iter(self._version.climbing), None)

    @property
    def climbing_left_s(self) -> float:
        climbing = self.climbing
        return inf if climbing is None else self._climb_left_s(self._c.store.instances[climbing])

    @property
    def free_in_s(self) -> float:
        """Looks at the few instances that have been busy longest."""
        soonest_s = inf if not self._version.leased else self.run_s
        for number in islice(self._version.busy, _LOOKED_AT):
            soonest_s = min(soonest_s, self._busy_left_s(self._c.store.instances[number]))
        return soonest_s

    @property
    def serving(self) -> int:
        return self._version.live

    @property
    def run_s(self) -> float:
        return self._c.policies.costs.expect_s(self._version.spec.version, "run")

    @property
    def can_grow(self) -> bool:
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

    def _climb_left_s(self, instance: Instance) -> float:
        holding = self._c.store.holdings[instance.key]
        expected_s = self._c.policies.costs.climb_s(instance.version, instance.origin)
        return self._left_s(holding.since_s, expected_s)

    def _busy_left_s(self, instance: Instance) -> float:
        if self._c.store.holdings[instance.key].phase == "climbing":
            return self._climb_left_s(instance) + self.run_s
        return self._left_s(instance.busy_since_s, self.run_s)

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
    def used_s(self) -> float:
        return self._instance.used_s

    @property
    def keep_warm_s(self) -> float:
        return self._version.spec.declaration.keep_warm_s
