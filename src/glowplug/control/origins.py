"""At which step a version's climb would start at a node now, and how long a load from there takes."""

from __future__ import annotations

from glowplug.control.context import Context
from glowplug.control.records import Version, key_of
from glowplug.core.ids import NodeId
from glowplug.core.ladder import Step


def best_origin(c: Context, version: Version, node: NodeId) -> Step | None:
    """The step from which an instance would climb at `node` now; None if not even its environment is up."""
    if node in version.staged_on:
        return Step.STAGED
    environment = c.store.holdings.get(key_of("environment", node, version.environment))
    return Step.IMPORTED if environment is not None and environment.phase == "up" else None


def load_origin(c: Context, version: Version, node: NodeId) -> Step | None:
    """As best_origin, for a load to a device there: STAGED also when the node's memory has the weights."""
    origin = best_origin(c, version, node)
    return Step.STAGED if origin is not None and node in version.cached_on else origin


def load_s(c: Context, version: Version, node: NodeId) -> float:
    """A load to a device there: a copy from the node's memory, or a read; its environment left out."""
    near = load_origin(c, version, node) == Step.STAGED
    return c.policies.costs.climb_s(version.spec.version, Step.STAGED if near else Step.IMPORTED)
