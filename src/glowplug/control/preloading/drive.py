"""Asks the pre-load policy, and carries out what it decides."""

from __future__ import annotations

from math import inf

from glowplug.control import bindings, gangs, growth, holdings, instances, placement
from glowplug.control.context import Context
from glowplug.control.origins import best_origin
from glowplug.control.preloading import candidates, sandboxes
from glowplug.control.preloading.view import PreloadView, SandboxView
from glowplug.control.records import Function, Instance, Version, key_of
from glowplug.control.sizes import instance_bytes, loaded_bytes, missing_weight_bytes, zygote_bytes
from glowplug.core.errors import NoSpace
from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority
from glowplug.policy.preload import Drop, Guest, Raise, Unstage

TIMER = "preload"
_LOOK_AGAIN_S = 1.0
"""How soon to retry a climb that was put off because the node's CPU share was spent."""
_ROUND = 64
"""Decisions carried out in one go; the rest comes with the next event."""


def introduced(c: Context, function: FunctionId) -> None:
    """The function has a version that can be called, and had none before."""
    if c.policies.preload.foresees:
        c.policies.preload.introduced(PreloadView(c), function, c.now_s)
        _arm(c)


def arrived(c: Context, function: FunctionId) -> None:
    """A request came for the function, reported by itself or as part of a gateway's report."""
    if not c.policies.foresee:
        return
    c.policies.predictors.observe(function, c.now_s)
    c.needed_soon.clear()
    c.reweigh()
    record = c.store.functions[function]
    if record.active is not None and not record.gone:
        c.policies.preload.arrived(PreloadView(c), function, c.now_s)
        _arm(c)


def invoked(c: Context, instance: Instance) -> None:
    """An instance begins to serve: some of those that share its sandbox may have to go."""
    host = instance if instance.host is None else c.store.instances.get(instance.host)
    if host is None or host.id not in c.store.guests:
        return
    for number in c.policies.preload.invoked(PreloadView(c), SandboxView(c, host), c.now_s):
        guest = c.store.instances.get(number)
        if guest is not None and guest is not instance and bindings.is_unused(guest):
            instances.drain(c, guest, "its sandbox is used")


def run(c: Context) -> None:
    """One round of decisions."""
    view = PreloadView(c)
    for count, decision in enumerate(c.policies.preload.decide(view, c.now_s), 1):
        if isinstance(decision, Guest):
            _admit(c, decision)
        elif isinstance(decision, Raise):
            _raise(c, decision)
        elif isinstance(decision, Drop):
            _drop(c, decision)
        else:
            _unstage(c, decision)
        if count >= _ROUND:
            break
    _arm(c)


def load_always(c: Context, function: Function) -> None:
    """Its declaration asks for a worker whenever there is memory that nobody uses."""
    found = candidates.found(c, function.id)
    if found is None and c.now_s < (paused_until_s := c.store.preloads.paused_until(function.id)):
        c.retry_by(function.id, paused_until_s)
    if found is None:
        return
    node = placement.choose(c, found[1], growth.whole_bytes(c, found[1]))
    if node is not None:
        _climb(c, *found, Raise(function.id, node.id, Step.PARKED, -inf, inf))


def pursue(c: Context, function: Function, version: Version) -> None:
    """Tries a climb again that had to wait for room, if it is still worth it."""
    wanted = c.store.preloads.wanted.get(function.id)
    if wanted is None:
        return
    # One copy is enough, and a request may have begun it.
    is_over = c.now_s >= wanted.until_s or bool(function.queue) or PreloadView(c).ready(function.id) > 0
    if is_over or candidates.found(c, function.id) is None:
        del c.store.preloads.wanted[function.id]
    elif wanted.until_s == inf and wanted.step == Step.PARKED:  # another node may have room by now
        load_always(c, function)
    else:
        _climb(c, function, version, wanted)


def _arm(c: Context) -> None:
    next_s = c.policies.preload.next_s()
    if next_s < inf and c.store.timers.get(TIMER) != next_s:
        c.set_timer(TIMER, max(next_s, c.now_s))


def _admit(c: Context, decision: Guest) -> None:
    found = candidates.found(c, decision.function)
    if found is None:
        return
    if decision.host is None:
        _climb(c, *found, Raise(decision.function, decision.node, Step.PARKED, -inf, c.now_s))
        return
    host = c.store.instances.get(decision.host)
    expected_s = c.policies.costs.climb_s(found[1].spec.version, Step.IMPORTED)
    if host is None or not _may_hold(c, host.node, loaded_bytes(found[1])):
        return
    if _may_spend(c, host.node, expected_s):
        guest = sandboxes.admit(c, *found, host)
        if guest is not None:
            c.store.preloads.note_started(guest, loaded_bytes(found[1]), c.now_s, expected_s)


def _raise(c: Context, decision: Raise) -> None:
    found = candidates.found(c, decision.function)
    if found is not None:
        _climb(c, *found, decision)


def _climb(c: Context, function: Function, version: Version, decision: Raise) -> None:
    node = c.store.nodes.get(decision.node)
    if node is None:
        return
    preloads, costs = c.store.preloads, c.policies.costs
    if decision.step == Step.STAGED:
        expected_s = costs.expect_s(version.spec.version, "stage")
        need_bytes = zygote_bytes(c, version)
    else:
        expected_s = costs.climb_s(version.spec.version, best_origin(c, version, node.id) or Step.IMPORTED)
        need_bytes = instance_bytes(c, version) + gangs.need_bytes(c, version, node.id)
    need_bytes += missing_weight_bytes(c, version, node.id)
    foreseen = decision.worth > -inf
    if foreseen and preloads.may_spend(node.id, expected_s, c.settings.preload_cpu_share, c.now_s):
        _make_way(c, node.id, need_bytes)
    if not (_may_hold(c, node.id, need_bytes) and _may_spend(c, node.id, expected_s)):
        if decision.until_s > c.now_s:
            _wish(c, function, decision)
            c.retry_by(function.id, c.now_s + _LOOK_AGAIN_S)
        return
    before = c.store.instances_made
    try:
        if decision.step == Step.STAGED:
            key = key_of("version", node.id, version.spec.version)
            was_there = key in c.store.holdings
            done = growth.stage_at(c, node, function, version, limit=decision.worth, rank=Priority.BACKGROUND)
            if key in c.store.holdings and not was_there:
                preloads.note_staging(key, node.id, need_bytes, c.now_s, expected_s)
        else:
            done = growth.grow_ahead(c, node, function, version, limit=decision.worth)
    except NoSpace as error:
        function.note(error.message)
        done = True
    if done:
        preloads.wanted.pop(function.id, None)
        if c.store.instances_made > before:
            instance = c.store.instances[InstanceId(c.store.instances_made)]
            preloads.note_started(instance, need_bytes, c.now_s, expected_s, foreseen=foreseen)
    elif decision.until_s > c.now_s:
        _wish(c, function, decision)


def _wish(c: Context, function: Function, decision: Raise) -> None:
    """It waits. What is wanted for good stays so, whatever is wanted for a while beside it."""
    wanted = c.store.preloads.wanted.get(function.id)
    if wanted is None or wanted.until_s < inf or decision.until_s == inf:
        c.store.preloads.wanted[function.id] = decision


def _drop(c: Context, decision: Drop) -> None:
    instance = c.store.instances.get(decision.instance)
    if instance is None or instance.draining:
        return
    declared = c.version_of(instance).spec.declaration
    stays = declared.pin or (declared.preload == "always" and instance.host is None)
    if not stays and bindings.is_unused(instance):
        instances.drain(c, instance, "not needed after all")


def _unstage(c: Context, decision: Unstage) -> None:
    function = c.store.functions.get(decision.function)
    if function is None or function.active is None:
        return
    key = key_of("version", decision.node, function.active)
    holding, declared = c.store.holdings.get(key), c.store.versions[function.active].spec.declaration
    is_in_vain = key in c.store.preloads.zygotes and key not in c.store.dependents
    if holding is None or holding.phase != "up" or not is_in_vain:
        return
    if not (declared.pin or declared.preload == "always"):
        holdings.descend(c, holding, Step.IMPORTED, "not needed after all")


def _make_way(c: Context, node: NodeId, more_bytes: int) -> None:
    """What only fills free memory gives way to what is foreseen, the latest first, where the share of memory
    is spent."""
    share, preloads = c.settings.preload_memory_share, c.store.preloads
    allowed_bytes = share * c.store.ledger.budget[node]
    if share >= 1.0 or more_bytes > allowed_bytes:
        return
    excess_bytes = preloads.unused_bytes(node) + more_bytes - allowed_bytes
    for number, record in reversed(list(preloads.unused.items())):
        if excess_bytes <= 0:
            return
        if record.node == node and not (record.foreseen or record.called):
            _drop(c, Drop(number))
            excess_bytes -= record.held_bytes * (number not in preloads.unused)


def _may_hold(c: Context, node: NodeId, more_bytes: int) -> bool:
    share, preloads = c.settings.preload_memory_share, c.store.preloads
    if share >= 1.0:
        return True
    allowed = preloads.unused_bytes(node) + more_bytes <= share * c.store.ledger.budget[node]
    preloads.held_back += not allowed
    return allowed


def _may_spend(c: Context, node: NodeId, expected_s: float) -> bool:
    allowed = c.store.preloads.may_spend(node, expected_s, c.settings.preload_cpu_share, c.now_s)
    c.store.preloads.held_back += not allowed
    return allowed
