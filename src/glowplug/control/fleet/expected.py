"""How long a function's runs and loads are expected to take: computed once, and again when something is
learned."""

from __future__ import annotations

import msgspec

from glowplug.control import origins, sizes
from glowplug.control.context import Context
from glowplug.control.records import Version
from glowplug.core.ids import FunctionId, NodeId

_SHORTEST_S = 1e-6


class Expected(msgspec.Struct):
    """Of one function, on a device whose pace is 1; `load_s` by node, for those that were asked about."""

    version: Version
    alone_s: float
    model_bytes: int
    most_at_once: int
    latency_target_s: float
    load_s: dict[NodeId, float] = {}


class ExpectedByFunction(dict[FunctionId, Expected]):
    """Code that changes what an estimate depends on removes the estimate (Context.revalue). It is computed
    again when somebody asks for it."""

    def __init__(self, c: Context) -> None:
        self._c = c

    def __missing__(self, function: FunctionId) -> Expected:
        version = version_of(self._c, function)
        found = self[function] = Expected(
            version=version,
            alone_s=batch_s(self._c, function, 1),
            model_bytes=sizes.model_bytes(version),
            most_at_once=most_at_once(version),
            latency_target_s=version.spec.declaration.latency_target_s,
        )
        return found

    def ran(self, function: FunctionId) -> None:
        """Something was learned of its runs, and nothing else."""
        found = self.get(function)
        if found is not None:
            found.alone_s = batch_s(self._c, function, 1)

    def check(self) -> None:
        """Raises AssertionError naming who was not taken out."""
        for function, found in [*self.items()]:
            del self[function]
            now = self[function]
            now.load_s = {node: load_s(self._c, now.version, node) for node in found.load_s}
            assert found == now, f"{function}: {found} is expected of it, and {now} would be"


def batch_s(c: Context, function: FunctionId, count: int) -> float:
    version = c.store.functions[function].active or ""
    return max(_SHORTEST_S, c.policies.costs.batch_s(version, count))


def load_s(c: Context, version: Version, node: NodeId) -> float:
    """Including its environment, if that has to come first."""
    took_s = origins.load_s(c, version, node)
    if version.environment in c.store.environments:
        return took_s
    return c.policies.costs.expect_s(version.environment, "environment") + took_s


def version_of(c: Context, function: FunctionId) -> Version:
    record = c.store.functions[function]
    number = record.active or record.next
    assert number is not None
    return c.store.versions[number]


def most_at_once(version: Version) -> int:
    """The least of its endpoints' largest batches: a batch may hold requests of any of them."""
    facts = version.facts
    endpoints = (facts.endpoints if facts is not None else ()) or version.spec.declaration.endpoints
    return min((endpoint.max_batch for endpoint in endpoints), default=1)
