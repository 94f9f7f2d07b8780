"""What people see, read from the records when somebody asks."""

from __future__ import annotations

from datetime import UTC, datetime

from glowplug.control import goals
from glowplug.control.context import Context
from glowplug.control.records import Function, Version, key_of
from glowplug.control.sharing import Parts
from glowplug.control.sizes import freed_bytes
from glowplug.control.state import ControlState
from glowplug.control.wants import replicas_wanted
from glowplug.core.ids import FunctionId, InstanceId, VersionId, split_function_id
from glowplug.core.ladder import Step
from glowplug.core.status import FunctionStatus, HeldStatus, InstanceStatus, NodeStatus, PreloadStatus

_LABELS = {step: step.label for step in Step}
_SERVING = ("parked", "busy")


def function_statuses(state: ControlState) -> list[FunctionStatus]:
    """All functions, in the order of their first deploy."""
    parts = Parts(state.context)
    return [_function_status(state.context, function, parts) for function in state.functions.values()]


def function_status(state: ControlState, number: FunctionId) -> FunctionStatus | None:
    function = state.functions.get(number)
    return None if function is None else _function_status(state.context, function, Parts(state.context))


def kept_versions(state: ControlState, number: FunctionId) -> set[VersionId]:
    """The versions that a function has use for: its active one, the one on its way, and those before."""
    function = state.functions.get(number)
    if function is None:
        return set()
    return {name for name in (function.active, function.next, *function.previous) if name is not None}


def node_statuses(state: ControlState) -> list[NodeStatus]:
    """`environment_bytes` are what environments' zygotes hold: no function's own."""
    store = state.context.store
    ledger, shared = store.ledger, dict.fromkeys(store.nodes, 0)
    for key, held in store.environments.items():
        for node in held:
            shared[node] += ledger.held_bytes(key_of("environment", node, key))
    return [
        NodeStatus(
            node=node.id,
            budget_bytes=ledger.budget[node.id],
            reserved_bytes=ledger.used[node.id],
            cores=node.cores,
            environment_bytes=shared[node.id],
            cached_bytes=sum(ledger.held_bytes(key) for key in node.keys if key.startswith("weights/")),
            granted_bytes=node.granted_bytes,
        )
        for node in state.nodes.values()
    ]


def preload_status(state: ControlState) -> PreloadStatus:
    settings, store = state.context.settings, state.context.store
    preloads = store.preloads
    climbing = sum(store.holdings[store.instances[n].key].phase == "climbing" for n in preloads.unused)
    return PreloadStatus(
        policy=settings.preload,
        cpu_share=settings.preload_cpu_share,
        memory_share=settings.preload_memory_share,
        unused=len(preloads.unused) - climbing,
        climbing=climbing,
        started=preloads.started,
        used=preloads.used,
        used_late=preloads.used_late,
        wasted=preloads.wasted,
        failed=preloads.failed,
        held_back=preloads.held_back,
        wasted_byte_seconds=preloads.wasted_byte_s,
        seconds=preloads.seconds,
        unused_byte_seconds=preloads.unused_byte_s(state.context.now_s),
    )


def _shown(c: Context, function: Function) -> Version:
    """The active version; before there is one the next, of a function that goes the last, and of one that
    could not be built what was deployed."""
    candidates = (function.active, function.next, *reversed(function.previous), *function.retiring)
    number = next((name for name in candidates if name is not None), None)
    if number is not None:
        return c.store.versions[number]
    assert function.latest is not None
    return Version(spec=function.latest, state="failed")


def function_state(function: Function) -> str:
    if function.gone:
        return "draining"
    if function.active is not None:
        return "ready"
    return "building" if function.next is not None else "failed"


def _phase(c: Context, version: Version) -> str:
    """What is going on for a version that cannot answer yet, by the names of core.ladder.PHASES."""
    if version.state == "building":
        return "build"
    key = version.spec.environment_key
    for node in c.store.environments.get(key, ()):
        holding = c.store.holdings[key_of("environment", node, key)]
        if holding.phase == "climbing":
            return holding.phase_of_climb or "import"
    return "waiting" if version.state == "pending" else ""


def _function_status(c: Context, function: Function, parts: Parts) -> FunctionStatus:
    name, namespace = split_function_id(function.id)
    version = _shown(c, function)
    coming = c.store.versions[function.next] if function.next is not None else version
    spec, facts = version.spec, version.facts
    declaration = spec.declaration
    names = [function.active, *reversed(function.previous)] if function.active is not None else []
    shown = [c.store.versions[name] for name in names if name is not None] or [version]
    instances, held_bytes = _instance_statuses(c, shown)
    held_bytes += sum(part.held_bytes for part in parts.of(shown))
    available = in_flight = 0
    for instance in instances:
        available += instance.step in _SERVING
        in_flight += instance.in_flight
    return FunctionStatus(
        name=name,
        namespace=namespace,
        replicas=max(replicas_wanted(c, function), available),
        availableReplicas=available,
        invocationCount=function.done + function.failed,
        image=spec.version,
        envProcess=f"{declaration.module}:{declaration.qualname}",
        createdAt=datetime.fromtimestamp(spec.created_s, UTC).isoformat(),
        version=spec.version,
        versions=tuple(name for name in names if name is not None),
        next=function.next or "",
        kind=declaration.kind,
        state=function_state(function),
        environment=spec.environment,
        packages=spec.packages,
        phase=_phase(c, coming),
        step=_LABELS[goals.standing(c, function)],
        highest_step=_LABELS[facts.highest_step] if facts else "parked",
        reason=facts.reason if facts else "",
        error=function.error,
        queued=len(function.queue) + function.lined,
        in_flight=in_flight,
        held_bytes=held_bytes,
        weight_bytes=facts.model_bytes if facts else 0,
        keep_warm_s=declaration.keep_warm_s,
        priority=declaration.priority,
        min_workers=declaration.min_workers,
        max_workers=declaration.max_workers,
        workers=1 + len(facts.parts) if facts else max(1, declaration.workers),
        target_concurrency=declaration.target_concurrency,
        device=declaration.device,
        device_bytes=sum(map(c.store.fleet.ledger.held_bytes, version.keys)),
        endpoints=(facts.endpoints if facts else ()) or declaration.endpoints,
        instances=tuple(instances),
        held=_held(c, shown, parts),
        failures=function.failed,
    )


_STEPS = {"weights": "local", "version": "staged", "instance": "parked"}


def _held(c: Context, versions: list[Version], parts: Parts) -> tuple[HeldStatus, ...]:
    """By node, then from the lowest step up."""
    counts: dict[tuple[str, str], list[int]] = {}
    for part in parts.of(versions):
        target, phase = part.holding.target, part.holding.phase
        found = counts.setdefault((target.node, "local" if phase == "up" else phase), [0, 0, 0, 1])
        found[0] += 1
        found[1] += part.held_bytes
        found[3] = max(found[3], part.functions)
    for version in versions:
        for key in version.keys:
            holding = c.store.holdings[key]
            target = holding.target
            if target.kind not in _STEPS:
                continue
            step, unused = _STEPS[target.kind] if holding.phase == "up" else holding.phase, False
            if target.kind == "instance":
                instance = c.store.instances[InstanceId(int(target.key))]
                unused = instance.id in c.store.preloads.unused
                if holding.phase == "up" and instance.in_flight:
                    step = "busy"
            found = counts.setdefault((target.node, step), [0, 0, 0, 1])
            found[0] += 1
            found[1] += c.store.ledger.held_bytes(key)
            found[2] += unused
    order = ("local", "staged", "climbing", "parked", "busy", "descending")
    return tuple(
        HeldStatus(node, step, *counts[node, step])
        for node, step in sorted(counts, key=lambda each: (each[0], order.index(each[1])))
    )


def _instance_statuses(c: Context, versions: list[Version]) -> tuple[list[InstanceStatus], int]:
    """Also the bytes of all that the versions hold for themselves, instances or not."""
    found, held_bytes = [], 0
    entries, holdings = c.store.ledger.entries, c.store.holdings
    for version in versions:
        for key in version.keys:
            holding = holdings[key]
            key_bytes = entries[key].held_bytes
            held_bytes += key_bytes
            if holding.target.kind != "instance":
                continue
            instance = c.store.instances[InstanceId(int(holding.target.key))]
            in_flight = instance.in_flight
            step = holding.phase if holding.phase != "up" else "busy" if in_flight else "parked"
            unused = instance.id in c.store.preloads.unused
            found.append(
                InstanceStatus(
                    instance.id, version.spec.version, step, freed_bytes(c, key), in_flight, unused
                )
            )
    return found, held_bytes
