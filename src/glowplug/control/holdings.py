"""Climbs and descents of whatever stands on the ladder, and the bookkeeping both need."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from glowplug.control import measurements, offers
from glowplug.control.context import Context
from glowplug.control.fleet import places
from glowplug.control.records import Holding, Store, Version, key_of
from glowplug.core.commands import Climb, Descend, Promote, Target
from glowplug.core.events import ClimbProgress, HeldChanged, StepReached
from glowplug.core.ids import DeviceId, FunctionId, InstanceId
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority
from glowplug.core.specs import FunctionSpec


def enter(
    c: Context,
    target: Target,
    step: Step,
    held_bytes: int,
    *,
    spec: FunctionSpec,
    needs: tuple[str, ...] = (),
    priority: int = 0,
    forced: bool = False,
    owned: bool = True,
) -> Holding:
    """Records a holding and its bytes. It is `up` until a climb is started for it.

    `forced` enters what is a fact already, whatever the budget says. What is not `owned` is of all that
    stand on it, as environments are.
    """
    c.reweigh()
    store, key = c.store, key_of(target.kind, target.node, target.key)
    if forced:
        store.ledger.record(key, target.node, held_bytes)
        c.freed[target.node] = None
    elif not store.ledger.reserve(key, target.node, held_bytes):
        raise AssertionError(f"{key} was entered without room for it")
    owned = owned and target.kind != "environment"
    holding = Holding(
        key=key,
        target=target,
        function=spec.function if owned else None,
        version=spec.version if owned else None,
        step=step,
        phase="up",
        since_s=c.now_s,
        needs=needs,
        priority=priority,
    )
    node, dependents = store.nodes[target.node], store.dependents
    store.holdings[key], node.keys[key] = holding, None
    if owned:
        store.versions[spec.version].keys[key] = None
    for need in needs:
        dependents[need] = dependents.get(need, 0) + 1
        c.policies.eviction.withdraw(need)
        node.doomed.pop(need, None)
    return holding


def climb(
    c: Context,
    holding: Holding,
    version: Version,
    *,
    origin: Step = Step.IMPORTED,
    prime: bool = False,
    device: DeviceId | None = None,
    cached: bool = False,
    displaces: InstanceId | None = None,
    patience_s: float = inf,
) -> None:
    """Sends the holding up to its step. After `patience_s` it is looked at, and given up after a while longer
    (outcomes.on_climb_timer)."""
    c.reweigh()
    command = c.command_id()
    holding.phase, holding.command, holding.since_s = "climbing", command, c.now_s
    holding.phase_of_climb = ""
    c.store.commands[command] = holding.key
    if holding.target.kind == "environment":
        c.store.environments.setdefault(holding.target.key, {})[holding.target.node] = None
        c.revalue(None)
    c.out.append(
        Climb(
            id=command,
            target=holding.target,
            step=holding.step,
            spec=version.spec,
            facts=version.facts,
            origin=origin,
            prime=prime,
            priority=holding.priority,
            device=device,
            cached=cached,
            device_bytes=0 if device is None else c.store.fleet.ledger.held_bytes(holding.key),
            displaces=displaces,
        )
    )
    timeout_s = c.settings.climb_timeout_s
    if holding.target.kind == "environment" and version.spec.packages:
        timeout_s += c.settings.environment_timeout_s
    c.set_timer(f"climb:{command}", c.now_s + min(patience_s, timeout_s))


def on_progress(c: Context, event: ClimbProgress) -> None:
    """Kept for people who look, and to see what else can be done meanwhile."""
    holding = c.store.holdings.get(c.store.commands.get(event.command, ""))
    if holding is not None and holding.phase == "climbing":
        holding.phase_of_climb = event.phase
        c.build_check = True


def hurry(c: Context, holding: Holding, rank: int) -> None:
    """A request of that class waits for this climb now."""
    if holding.phase == "climbing" and holding.priority < rank and holding.command is not None:
        holding.priority = rank
        c.emit(Promote(id=c.command_id(), climb=holding.command, priority=rank))


def descend(c: Context, holding: Holding, step: Step, why: str) -> None:
    """Sends the holding down. Its bytes count until StepLost; a climb under way is given up.

    From now on it stands on nothing. Holdings that only waited for its end go at once, so that all end
    together and not one after the other. The node keeps weights until no process has them mapped.
    """
    c.reweigh()
    if holding.command is not None:
        end_command(c, holding)
    store, command = c.store, c.command_id()
    holding.phase, holding.command, holding.since_s = "descending", command, c.now_s
    store.commands[command] = holding.key
    store.nodes[holding.target.node].doomed.pop(holding.key, None)
    store.preloads.note_zygote_gone(holding.key, c.now_s)
    store.ledger.leave(holding.key)
    store.fleet.leave(holding.key)
    c.policies.eviction.withdraw(holding.key)
    _unlist(c, holding)
    if holding.target.kind == "environment":
        c.revalue(None)
    c.out.append(Descend(id=command, target=holding.target, step=step, why=why))
    c.set_timer(f"descend:{command}", c.now_s + c.settings.climb_timeout_s)
    needs, holding.needs = holding.needs, ()
    if needs:
        _release(c, needs)


def evict(c: Context, holding: Holding) -> None:
    """Evicts a holding on which nothing stands; instances are let go in instances.py."""
    descend(c, holding, Step.IMPORTED if holding.target.kind == "version" else Step.LOCAL, "evicted")


def arrive(c: Context, holding: Holding, event: StepReached) -> None:
    """A climb ended well: what it measured replaces what was assumed."""
    c.reweigh()
    end_command(c, holding)
    holding.phase = "up"
    target, costs = holding.target, c.policies.costs
    if target.kind == "environment":
        costs.learn(target.key, "environment", event.took_s)
        c.store.environment_misses.pop(target.key, None)
        c.revalue(None)
    elif target.kind == "version" and holding.version is not None:
        c.store.versions[holding.version].staged_on[target.node] = None
        if holding.priority != Priority.BACKGROUND or costs.measured_s(holding.version, "stage") is None:
            # What a climb took that stood back says little of one that somebody waits for.
            costs.learn(holding.version, "stage", event.took_s)
            c.revalue(holding.function)
        took_s = event.took_s if event.cpu_s is None else event.cpu_s
        c.store.preloads.note_staged(holding.key, took_s)
    if holding.version is not None and not measurements.is_guest(c, target):
        known = c.store.versions[holding.version].measured
        before_bytes = known.get(target.kind, 0) if target.kind == "part" else 0
        known[target.kind] = max(before_bytes, event.held_bytes)
    measurements.measured(c, HeldChanged(target=target, held_bytes=event.held_bytes))
    _wake(c, holding)
    offers.reconsider(c, holding)


def remove(c: Context, holding: Holding) -> None:
    """The holding is gone, its memory free."""
    c.reweigh()
    end_command(c, holding)
    store, node = c.store, holding.target.node
    store.ledger.release(holding.key)
    store.preloads.note_zygote_gone(holding.key, c.now_s)
    if store.fleet.release(holding.key) is not None:
        c.fleet_check = True
        places.more_room(c)
    c.policies.eviction.withdraw(holding.key)
    _unlist(c, holding)
    _unlist_environment(c, holding)
    del store.holdings[holding.key], store.nodes[node].keys[holding.key]
    store.nodes[node].doomed.pop(holding.key, None)
    if holding.version is not None:
        store.versions[holding.version].keys.pop(holding.key, None)
    _release(c, holding.needs)
    if holding.target.kind == "instance" and holding.version is not None:
        # A device's model does not stand on its weights in memory, but makes them worth less (cache.py).
        weights = store.holdings.get(key_of("weights", node, holding.version))
        if weights is not None and store.versions[holding.version].on_device:
            offers.reconsider(c, weights)
    c.freed[node] = None
    c.touch(holding.function)
    _wake(c, holding)


def stand_alone(c: Context, holding: Holding, on: str) -> None:
    """From now on the holding stands on `on` and nothing else; what it stood on may go."""
    c.reweigh()
    left = tuple(need for need in holding.needs if need != on)
    holding.needs = (on,)
    _release(c, left)


def _release(c: Context, needs: Iterable[str]) -> None:
    for need in needs:
        left = c.store.dependents[need] - 1
        if left:
            c.store.dependents[need] = left
        else:
            del c.store.dependents[need]
            below = c.store.holdings.get(need)
            if below is None:
                continue
            if need in c.store.nodes[below.target.node].doomed and below.phase == "up":
                evict(c, below)
            elif below.phase == "up" and is_nobodys(c.store, below):
                descend(c, below, Step.LOCAL, "retired")
            else:
                offers.reconsider(c, below)


def is_nobodys(store: Store, holding: Holding) -> bool:
    """Whether these are weights that no version has any more."""
    return (
        holding.target.kind == "weights"
        and holding.version is None
        and (holding.target.key not in store.sharers)
    )


def wait_for(holding: Holding, function: FunctionId) -> None:
    holding.waiters[function] = None


def end_command(c: Context, holding: Holding) -> None:
    if holding.command is not None:
        c.store.commands.pop(holding.command, None)
        c.clear_timer(f"{'descend' if holding.phase == 'descending' else 'climb'}:{holding.command}")
        holding.command = None


def _wake(c: Context, holding: Holding) -> None:
    for function in holding.waiters:
        c.touch(function)
    holding.waiters = {}
    c.build_check = True


def _unlist(c: Context, holding: Holding) -> None:
    if holding.version is None:
        return
    version, node = c.store.versions[holding.version], holding.target.node
    if holding.target.kind == "version":
        version.staged_on.pop(node, None)
        c.revalue(holding.function)
    elif holding.target.kind == "weights" and node in version.cached_on:
        del version.cached_on[node]
        c.revalue(holding.function)
        places.reoffer(c, version.spec.function, node)


def _unlist_environment(c: Context, holding: Holding) -> None:
    target = holding.target
    nodes = c.store.environments.get(target.key)
    if target.kind == "environment" and nodes is not None:
        nodes.pop(target.node, None)
        c.revalue(None)
        if not nodes:
            del c.store.environments[target.key]
