"""What pre-load policies see. Meets policy.preload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from glowplug.control import gangs, placement, victims
from glowplug.control.context import Context
from glowplug.control.origins import best_origin
from glowplug.control.preloading import candidates, sandboxes
from glowplug.control.records import Instance, Version, key_of
from glowplug.control.sizes import (
    instance_bytes,
    loaded_bytes,
    missing_environment_bytes,
    missing_weight_bytes,
    weight_bytes,
    zygote_bytes,
)
from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.core.ladder import Step
from glowplug.policy.preload import Quantile


class SandboxView:
    """An instance as a place for guests."""

    __slots__ = ("_c", "_instance", "id", "node", "owner")

    def __init__(self, c: Context, instance: Instance) -> None:
        self._c = c
        self._instance = instance
        self.id: InstanceId | None = instance.id
        self.owner: FunctionId | None = instance.function
        self.node: NodeId = instance.node

    @property
    def is_idle(self) -> bool:
        return self._instance.slot == "idle"

    @property
    def room_bytes(self) -> int:
        return sandboxes.room_bytes(self._c, self._instance)

    @property
    def yields_bytes(self) -> int:
        return sandboxes.yields_bytes(self._c, self._instance)

    @property
    def guests(self) -> Iterable[InstanceId]:
        return tuple(self._c.store.guests.get(self._instance.id, ()))


class NodeSandbox:
    """On the `zygote` substrate all of a node's free memory, as one sandbox without an owner, for policies
    that fill sandboxes."""

    __slots__ = ("_c", "node")
    id: InstanceId | None = None
    owner: FunctionId | None = None
    is_idle = True
    yields_bytes = 0
    guests: tuple[InstanceId, ...] = ()

    def __init__(self, c: Context, node: NodeId) -> None:
        self._c = c
        self.node = node

    @property
    def room_bytes(self) -> int:
        return self._c.store.ledger.free_bytes(self.node)


class PreloadView:
    __slots__ = ("_c",)

    def __init__(self, c: Context) -> None:
        self._c = c

    @property
    def horizon_s(self) -> float:
        return self._c.settings.preload_horizon_s

    @property
    def byte_price(self) -> float:
        return self._c.settings.preload_byte_price

    @property
    def loads_uncalled(self) -> bool:
        return self._c.settings.preload_uncalled

    def cpu_price(self, node: NodeId) -> float:
        c = self._c
        left = c.store.preloads.share_left(node, c.settings.preload_cpu_share, c.now_s)
        believed = c.store.preloads.usage_at(node).believed(c.now_s)
        return max(c.settings.preload_cpu_price, 1.0 - left) / believed

    def line_price(self, node: NodeId) -> float:
        c = self._c
        mean = c.store.preloads.seen_line(node, c.now_s)
        if mean is None:  # many ask in one moment
            queued = c.store.functions
            waiting = sum(len(queued[function].queue) for function in c.store.nodes[node].starved)
            mean = c.store.preloads.see_line(node, waiting, c.now_s)
        return mean / max(1, c.store.ledger.budget[node])

    def may_load(self, function: FunctionId) -> bool:
        return candidates.found(self._c, function) is not None

    def namespace(self, function: FunctionId) -> str:
        return self._version(function).spec.namespace

    def sandboxes(self, node: NodeId | None = None) -> Iterator[SandboxView | NodeSandbox]:
        c = self._c
        if node is not None and node not in c.store.nodes:
            return
        if c.settings.substrate != "process":
            for number in c.store.node_order if node is None else (node,):
                yield NodeSandbox(c, number)
            return
        for number in c.store.nodes if node is None else (node,):
            for key in c.store.nodes[number].keys:
                if key.startswith("instance/"):
                    instance = c.store.instances[InstanceId(int(key.rpartition("/")[2]))]
                    if sandboxes.is_sandbox(c, instance):
                        yield SandboxView(c, instance)

    def ready(self, function: FunctionId) -> int:
        version, instances = self._version(function), self._c.store.instances
        loaded = sum(instances[number].loaded for number in (*version.idle, *version.busy))
        return loaded + len(version.climbing) + len(version.leased)

    def _there(self, function: FunctionId) -> Iterator[InstanceId]:
        record = self._c.store.functions.get(function)
        if record is not None and record.active is not None:
            version = self._c.store.versions[record.active]
            yield from (*version.idle, *version.leased)

    def idle(self, function: FunctionId) -> Iterable[InstanceId]:
        record = self._c.store.functions.get(function)
        if record is None or record.active is None:
            return ()
        return tuple(self._c.store.versions[record.active].idle)

    def unused(self, function: FunctionId) -> tuple[InstanceId, ...]:
        unused = self._c.store.preloads.unused
        if not unused:
            return ()
        return tuple(number for number in self._there(function) if number in unused)

    def staged_ahead(self, function: FunctionId) -> list[NodeId]:
        zygotes, record = self._c.store.preloads.zygotes, self._c.store.functions.get(function)
        if not zygotes or record is None or record.active is None:
            return []
        version = self._c.store.versions[record.active]
        return [node for node in version.staged_on if key_of("version", node, record.active) in zygotes]

    def zygote(self, function: FunctionId) -> tuple[int, float]:
        c, version = self._c, self._version(function)
        name = version.spec.version
        spares_s = c.policies.costs.climb_s(name, Step.IMPORTED) - c.policies.costs.climb_s(name, Step.STAGED)
        return zygote_bytes(c, version), spares_s

    def climbs_ahead(self, function: FunctionId) -> bool:
        record, unused = self._c.store.functions.get(function), self._c.store.preloads.unused
        if not unused or record is None or record.active is None:
            return False
        return any(number in unused for number in self._c.store.versions[record.active].climbing)

    def is_guest(self, instance: InstanceId) -> bool:
        record = self._c.store.instances.get(instance)
        return record is not None and record.host is not None

    def served_at(self, function: FunctionId) -> NodeId | None:
        return self._c.store.preloads.served_at.get(function)

    def homes(self, function: FunctionId) -> Iterable[NodeId]:
        return placement.homes(self._c, self._version(function))

    def steps_up(self, function: FunctionId, node: NodeId) -> Iterator[tuple[Step, int, float]]:
        c, version = self._c, self._version(function)
        costs, spec = c.policies.costs, version.spec
        here = best_origin(c, version, node)
        shared_bytes = missing_weight_bytes(c, version, node) + missing_environment_bytes(c, version, node)
        facts = version.facts
        stages = facts is not None and facts.highest_step >= Step.STAGED and not version.unstageable
        # A zygote climbs from an environment that stands; a worker waits until it does.
        if stages and here is not None and here < Step.STAGED:
            yield (
                Step.STAGED,
                zygote_bytes(c, version) + shared_bytes,
                costs.climb_s(spec.version, Step.STAGED),
            )
        own_bytes = instance_bytes(c, version) + gangs.need_bytes(c, version, node)
        yield Step.PARKED, own_bytes + shared_bytes, 0.0

    def waits_s(self, function: FunctionId) -> float:
        c, version = self._c, self._version(function)
        costs, spec = c.policies.costs, version.spec
        if version.staged_on:
            return costs.climb_s(spec.version, Step.STAGED)
        climb_s = costs.climb_s(spec.version, Step.IMPORTED)
        if spec.environment_key in c.store.environments:
            return climb_s
        return climb_s + costs.expect_s(spec.environment_key, "environment")

    def guest_bytes(self, function: FunctionId) -> int:
        version = self._version(function)
        if self._c.settings.substrate == "process":
            return loaded_bytes(version)
        own_bytes = instance_bytes(self._c, version) + gangs.whole_bytes(self._c, version)
        return own_bytes + weight_bytes(version)

    def held_bytes(self, function: FunctionId) -> dict[NodeId, int]:
        c, version = self._c, self._version(function)
        size_bytes = weight_bytes(version)
        if not size_bytes or c.settings.substrate == "process":
            return {}
        nodes = c.store.node_order
        return {node: size_bytes for node in nodes if not missing_weight_bytes(c, version, node)}

    def load_s(self, function: FunctionId) -> float:
        return self._c.policies.costs.climb_s(self._version(function).spec.version, Step.IMPORTED)

    def room_bytes(self, node: NodeId) -> int:
        ledger = self._c.store.ledger
        return ledger.free_bytes(node) + ledger.leaving[node]

    def displaced_s(self, node: NodeId, need_bytes: int, limit: float) -> float:
        return victims.displaced_s(self._c, self._c.store.nodes[node], need_bytes, limit)

    def rate_per_s(self, function: FunctionId) -> float:
        return self._c.policies.predictors.rate_per_s(function)

    def needed(self, function: FunctionId, from_s: float, until_s: float) -> float:
        return self._c.policies.predictors.needed(function, self._c.now_s, from_s, until_s)

    def quantiles(self, function: FunctionId, near_s: float) -> Quantile:
        return self._c.policies.predictors.quantiles(function, near_s)

    def _version(self, function: FunctionId) -> Version:
        number = self._c.store.functions[function].active
        assert number is not None
        return self._c.store.versions[number]
