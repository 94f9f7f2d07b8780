"""Climbs that take many times as long as they do as a rule: when a request is better off without them.

See docs/decisions/044.
"""

from __future__ import annotations

from itertools import chain, islice

from glowplug.control.context import Context
from glowplug.control.records import Holding, Instance, Version
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority
from glowplug.policy.costs import DISK_BYTES_PER_S

LOOKED_AT = 8
"""Of the busy, of the lent and of the climbing instances each: those that were sent something the longest ago
come first, or those that are there the longest."""
_TIMES = 10.0
"""A climb is overdue after so many times what is usual."""
_LEAST_S = 5.0
"""And never sooner than this: a machine may be busy with hundreds of climbs."""
_UNKNOWN_S = 30.0
"""The same where no climb of the version has been measured yet."""
_STANDS_BACK = 4.0
"""So much longer if nobody waits for it, because it stands back behind what is busy (decision 068)."""
_DOUBLINGS = 10


def patience_s(c: Context, version: Version, origin: Step, rank: int) -> float:
    """How long a climb may take before it is overdue: twice as long after each of the version that was given
    up, until one succeeds. So an estimate that is far too low does not end all climbs for ever."""
    costs, name = c.policies.costs, version.spec.version
    usual_s = costs.measured_s(name, "staged") if origin >= Step.STAGED else None
    if usual_s is None:
        usual_s = costs.measured_s(name, "imported")
    if usual_s is None:
        longest_s = _UNKNOWN_S
    else:
        disk_s = version.facts.model_bytes / DISK_BYTES_PER_S if version.facts is not None else 0.0
        longest_s = max(_LEAST_S, _TIMES * (usual_s + disk_s))
    stands_back = _STANDS_BACK if rank == Priority.BACKGROUND else 1.0
    return longest_s * stands_back * 2.0 ** min(version.given_up, _DOUBLINGS)


def since_s(instance: Instance, holding: Holding) -> float:
    """Since when its climb counts: since a request waits for it, or else since it began."""
    return instance.busy_since_s if instance.bound else holding.since_s


def from_s(c: Context, instance: Instance, holding: Holding) -> float:
    """When its climb, which is under way, is overdue."""
    version = c.store.versions[instance.version]
    return since_s(instance, holding) + patience_s(c, version, instance.origin, holding.priority)


def is_overdue(c: Context, instance: Instance, holding: Holding) -> bool:
    """Whether its climb is. A load to a device never is: other rules say what waits for one."""
    if holding.phase != "climbing" or instance.device is not None:
        return False
    if c.now_s - since_s(instance, holding) < _LEAST_S:
        return False
    return c.now_s >= from_s(c, instance, holding)


def is_awaited(c: Context, instance: Instance) -> bool:
    """Whether a request that has no answer yet is bound to it."""
    return any(c.store.requests[number].state == "bound" for number in instance.bound)


def may_end(c: Context, instance: Instance) -> bool:
    """Whether its climb may be given up when it is overdue: it was begun for nobody, or nobody waits for it
    any more, or those who do may go to a worker that stands. What a request itself began may else be as slow
    as it has to be."""
    return not instance.asked_for or not is_awaited(c, instance) or _stands_another(c, instance)


def _stands_another(c: Context, instance: Instance) -> bool:
    version, store = c.store.versions[instance.version], c.store
    others = chain(version.idle, islice(version.busy, LOOKED_AT), islice(version.leased, LOOKED_AT))
    return any(store.holdings[store.instances[one].key].phase == "up" for one in others if one != instance.id)
