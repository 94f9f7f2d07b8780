"""Weights that several functions have: held once at a node, by the name of their content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from glowplug.control import holdings, offers
from glowplug.control.context import Context
from glowplug.control.records import Holding, Version, key_of
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
        _weigh_again(c, version.shared_weights)


def leave(c: Context, version: Version) -> None:
    """A version is forgotten. What only it had goes."""
    if version.shared_weights:
        _forget(c, version.shared_weights, version)


def _forget(c: Context, name: str, version: Version) -> None:
    left = c.store.sharers[name]
    left.pop(version.spec.version, None)
    if left:
        _weigh_again(c, name)
        return
    del c.store.sharers[name]
    for holding in _held(c, name):
        if holding.phase == "up" and holding.key not in c.store.dependents:
            holdings.descend(c, holding, Step.LOCAL, "retired")


def _weigh_again(c: Context, name: str) -> None:
    """What they are worth on offer is what all ask for that have them now."""
    for holding in _held(c, name):
        offers.reconsider(c, holding)


def _held(c: Context, name: str) -> Iterator[Holding]:
    for node in c.store.node_order:
        holding = c.store.holdings.get(key_of("weights", node, name))
        if holding is not None:
            yield holding


class Part(msgspec.Struct, frozen=True):
    """Of weights that `functions` have, the part that is counted for one of them."""

    holding: Holding
    held_bytes: int
    functions: int


class Parts:
    """By function, so that all functions' parts are no more than is held. Made anew for each look at all
    of them, since it counts who has what only once."""

    def __init__(self, c: Context) -> None:
        self._c = c
        self._functions: dict[str, int] = {}

    def of(self, versions: Iterable[Version]) -> Iterator[Part]:
        """Of one function's versions: of what several of them have once."""
        for name in dict.fromkeys(version.shared_weights for version in versions):
            if name:
                for holding in _held(self._c, name):
                    functions = self._count(name)
                    held_bytes = self._c.store.ledger.held_bytes(holding.key) // functions
                    yield Part(holding, held_bytes, functions)

    def _count(self, name: str) -> int:
        found = self._functions.get(name)
        if found is None:
            store = self._c.store
            functions = {store.versions[number].spec.function for number in store.sharers[name]}
            found = self._functions[name] = len(functions)
        return found
