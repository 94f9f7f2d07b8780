"""Weights that several functions have: held once at a node, by the name of their content."""

from __future__ import annotations

from glowplug.control import holdings
from glowplug.control.context import Context
from glowplug.control.records import Version, key_of
from glowplug.core.ladder import Step


def join(c: Context, version: Version) -> None:
    """What a version shares follows from its facts. On devices, and of a model over several workers, nothing
    is shared."""
    facts, sharers = version.facts, c.store.sharers
    number, before = version.spec.version, version.shared_weights
    alone = facts is None or version.on_device or facts.parts or not c.settings.shares_weights
    version.shared_weights = "" if alone or facts is None else facts.pack
    if before and before != version.shared_weights:
        _forget(c, before, version)
    if version.shared_weights:
        sharers.setdefault(version.shared_weights, {})[number] = None


def leave(c: Context, version: Version) -> None:
    """A version is forgotten. What only it had goes."""
    if version.shared_weights:
        _forget(c, version.shared_weights, version)


def _forget(c: Context, name: str, version: Version) -> None:
    left = c.store.sharers[name]
    left.pop(version.spec.version, None)
    if left:
        return
    del c.store.sharers[name]
    for node in c.store.node_order:
        holding = c.store.holdings.get(key_of("weights", node, name))
        if holding is not None and holding.phase == "up" and holding.key not in c.store.dependents:
            holdings.descend(c, holding, Step.LOCAL, "retired")
