"""How many workers a function is to have, and by which policy it keeps them."""

from __future__ import annotations

from glowplug.control.context import Context
from glowplug.control.records import Function, Version
from glowplug.core.ladder import Step
from glowplug.policy.prewarm import PrewarmPolicy


def replicas_wanted(c: Context, function: Function) -> int:
    """Instances to keep parked; none while an operator holds the function below PARKED."""
    if function.active is None or function.gone:
        return 0
    goal = function.goal if function.goal is not None else function.hold
    if goal is None and function.replicas is None:
        return c.store.versions[function.active].spec.declaration.min_workers
    if goal is not None and goal < Step.PARKED:
        return 0
    declared = c.store.versions[function.active].spec.declaration.min_workers
    wanted = declared if function.replicas is None else function.replicas
    return max(wanted, 1) if goal is not None else wanted


def prewarm_of(c: Context, version: Version) -> PrewarmPolicy:
    """What the function declares, else what the settings say."""
    name = version.spec.declaration.prewarm
    return c.policies.prewarm.get(name) or c.policies.prewarm[c.settings.prewarm]


def most_workers(c: Context, function: Function, version: Version) -> int:
    declared = version.spec.declaration.max_workers
    return max(declared, 1, replicas_wanted(c, function))
