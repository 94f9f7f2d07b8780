"""What keeping something is worth, in the terms that an eviction policy compares."""

from __future__ import annotations

from math import exp, log

from glowplug.control.context import Context
from glowplug.control.origins import load_s
from glowplug.control.records import Function, Holding, Instance, Version
from glowplug.control.sizes import weight_bytes, worker_bytes
from glowplug.control.wants import replicas_wanted
from glowplug.core.ids import FunctionId, InstanceId, VersionId
from glowplug.core.ladder import Step
from glowplug.core.priority import WORTH
from glowplug.policy import soon
from glowplug.policy.costs import DISK_BYTES_PER_S
from glowplug.policy.eviction import EvictionPolicy, Worth

_LOG_WORTH: dict[int, float] = {rank: log(weight) for rank, weight in WORTH.items()}
_SECOND_COPY = 0.3
"""How much less each further idle copy is needed."""
_RETIRED_RANK = -20.0


def worth(c: Context, holding: Holding) -> Worth:
    """What keeping an idle holding spares: how often it is asked for, and seconds each time. What many share
    was used when what stands on it was asked for."""
    if holding.target.kind == "instance":
        return worth_of_worker(c, c.store.instances[InstanceId(int(holding.target.key))])
    costs, arrivals = c.policies.costs, c.policies.arrivals
    held_bytes = c.store.ledger.held_bytes(holding.key)
    if holding.target.kind == "environment":
        name = holding.target.key
        soon = 1.0 if c.policies.eviction.timely else 0.0
        saved_s, (uses, used_s) = costs.expect_s(name, "environment"), arrivals.seen(name)
        return Worth(arrivals.rank(name), saved_s, held_bytes, needed=soon, used_s=used_s, uses=uses)
    if holding.version is None:
        return _worth_of_shared(c, holding.target.key, held_bytes)
    version = c.store.versions[VersionId(holding.version)]
    function = c.store.functions[version.spec.function]
    name = version.spec.version
    rank, needed = _asked_for(c, version, function)
    if holding.target.kind == "weights" and version.on_device:
        return worth_below_devices(c, version, rank, needed)
    saved_s = held_bytes / DISK_BYTES_PER_S
    if holding.target.kind == "version":
        saved_s = costs.expect_s(name, "imported") - costs.expect_s(name, "staged")
    uses, used_s = arrivals.seen(function.id)
    pinned = _is_pinned(function, version)
    return Worth(rank, saved_s, held_bytes, pinned, needed=needed, used_s=used_s, uses=uses)


def _worth_of_shared(c: Context, name: str, held_bytes: int) -> Worth:
    """Of weights that several versions have: whichever of them is asked for finds them."""
    ranks: list[float] = []
    unneeded, uses, used_s, pinned = 1.0, 0.0, 0.0, False
    for number in c.store.sharers.get(name, ()):
        version = c.store.versions[number]
        function = c.store.functions[version.spec.function]
        rank, needed = _asked_for(c, version, function)
        ranks.append(rank)
        unneeded *= 1.0 - min(1.0, needed)
        uses_there, used_there_s = c.policies.arrivals.seen(function.id)
        uses, used_s = uses + uses_there, max(used_s, used_there_s)
        pinned = pinned or _is_pinned(function, version)
    # Ranks grow with the clock, beyond what exp takes: only their differences are small.
    highest = max(ranks, default=_RETIRED_RANK)
    rank = highest + log(sum(exp(each - highest) for each in ranks)) if ranks else highest
    saved_s = held_bytes / DISK_BYTES_PER_S
    return Worth(rank, saved_s, held_bytes, pinned, needed=1.0 - unneeded, used_s=used_s, uses=uses)


def worth_of_worker(c: Context, instance: Instance) -> Worth:
    """What keeping an idle worker spares: the climb of the next one."""
    version, function = c.store.versions[instance.version], c.store.functions[instance.function]
    rank, needed = _asked_for(c, version, function)
    if needed:
        needed *= _SECOND_COPY ** max(0, len(version.idle) - 1)
    origin = Step.STAGED if instance.node in version.staged_on else Step.IMPORTED  # it stands on no less
    return Worth(
        rank,
        c.policies.costs.climb_s(instance.version, origin),
        worker_bytes(c, instance),
        _is_kept(c, function, version),
        needed=needed,
        used_s=instance.used_s,
        uses=instance.uses,
    )


def _asked_for(c: Context, version: Version, function: Function) -> tuple[float, float]:
    """How often, as a rank, and how likely soon. Nobody asks for a version that is retired."""
    rank = demand(c, version)
    if version.spec.version not in (function.active, function.next):
        return rank + _RETIRED_RANK, 0.0
    return rank, needed_soon(c, function.id, c.policies.eviction)


def _is_kept(c: Context, function: Function, version: Version) -> bool:
    """Whether none of its workers is to go, but for a request that finds no other room."""
    return _is_pinned(function, version) or version.live <= replicas_wanted(c, function)


def _is_pinned(function: Function, version: Version) -> bool:
    return version.spec.declaration.pin and version.spec.version == function.active


def worth_on_device(c: Context, instance: Instance, left: int = 0) -> Worth:
    """What keeping a model on its device spares: the load from where its node has it else. `left` copies are
    counted that have just gone."""
    version, function = c.store.versions[instance.version], c.store.functions[instance.function]
    copies, at_once = len(c.store.fleet.where.get(instance.function, ())) + left, 0.0
    if copies > 1:
        rate_per_s = c.policies.arrivals.rate_per_s(instance.function, c.now_s)
        at_once = rate_per_s * c.policies.costs.expect_s(instance.version, "run")
    return Worth(
        rank=demand(c, version),
        saved_s=load_s(c, version, instance.node),
        held_bytes=c.store.fleet.ledger.held_bytes(instance.key),
        pinned=_is_kept(c, function, version),
        copies=max(1, copies),
        needed=needed_soon(c, instance.function, c.policies.device_eviction),
        at_once=at_once,
        used_s=instance.used_s,
        uses=instance.uses,
    )


def score_now(c: Context, key: str) -> float:
    """What an offered holding is worth at this moment, in the eviction policy's own measure; worked out once
    until something changes (Context.reweigh)."""
    score = c.scores.get(key)
    if score is None:
        score = c.scores[key] = work_out_score(c, key)
    return score


def work_out_score(c: Context, key: str) -> float:
    return c.policies.eviction.score(worth(c, c.store.holdings[key]))


def device_score_now(c: Context, key: str) -> float:
    holding = c.store.holdings[key]
    instance = c.store.instances[InstanceId(int(holding.target.key))]
    return c.policies.device_eviction.score(worth_on_device(c, instance))


def needed_soon(c: Context, function: FunctionId, policy: EvictionPolicy) -> float:
    """How much a function is needed soon (policy/soon.py); only worked out for who wants to know."""
    if not policy.timely:
        return 0.0
    known = c.needed_soon
    if c.needed_at_s != c.now_s:
        known.clear()
        c.needed_at_s = c.now_s
    needed = known.get(function)
    if needed is None:
        needed = known[function] = work_out_needed(c, function)
    return needed


def work_out_needed(c: Context, function: FunctionId) -> float:
    return soon.needed_soon(c.policies.predictors.within(function, c.now_s), c.settings.preload_horizon_s)


def worth_below_devices(c: Context, version: Version, rank: float, needed: float) -> Worth:
    """What a model's weights in a node's memory spare: the difference between a read and a copy. What lies on
    devices already is loaded the less often, the more copies there are: so memory has what they have not."""
    costs, name, function = c.policies.costs, version.spec.version, version.spec.function
    spared_s = costs.expect_s(name, "imported") - costs.expect_s(name, "staged")
    uses, used_s = c.policies.arrivals.seen(function)
    return Worth(
        rank=rank,
        saved_s=spared_s / (1 + len(c.store.fleet.where.get(function, ()))),
        held_bytes=weight_bytes(version),
        needed=needed,
        used_s=used_s,
        uses=uses,
    )


def demand(c: Context, version: Version) -> float:
    """The logarithm of how often the function is asked for, in seconds of waiting that count by its class."""
    return c.policies.arrivals.rank(version.spec.function) + _LOG_WORTH[version.rank]
