"""Weights in a node's memory outlast the processes that have them mapped."""

from __future__ import annotations

from glowplug.core.commands import Climb, Target
from glowplug.core.ids import FunctionId
from glowplug.sim.freed import FreedMemory
from glowplug.sim.profile import Profile


class MappedWeights:
    """Of all nodes."""

    def __init__(self, profiles: dict[FunctionId, Profile], shared: bool = False) -> None:
        self._profiles = profiles
        self._shared = shared
        self._freed = FreedMemory()
        self._mapped: dict[Target, Target] = {}
        """By worker or zygote the weights that it has mapped."""
        self._readers: dict[Target, FunctionId] = {}
        """By weights the function that has them."""
        self._mapped_until_s: dict[Target, float] = {}

    def map(self, command: Climb) -> None:
        """A worker or a zygote climbs: it maps its version's weights, or those of its part."""
        number = command.target.key.partition(".")[2] if command.target.kind == "part" else ""
        key = f"{command.spec.version}.{number}" if number else self._name(command)
        weights = Target("weights", command.target.node, key)
        self._mapped[command.target], self._readers[weights] = weights, command.spec.function

    def _name(self, command: Climb) -> str:
        """As Version.weights."""
        facts = command.facts
        if not self._shared or facts is None or facts.parts or command.spec.declaration.device != "cpu":
            return command.spec.version
        return facts.pack or command.spec.version

    def rested_bytes(self, profile: Profile, node: str, now_s: float, nbytes: int) -> int:
        """How many of the bytes that are read there come to memory that nobody had for a while."""
        return nbytes - self._freed.take(node, now_s, nbytes) if profile.rested_bytes_per_s else 0

    def let_go(self, target: Target, ends_s: float) -> float:
        """When a target is gone that would be at `ends_s`, whoever has it mapped being gone as well."""
        ends_s = max(ends_s, self._mapped_until_s.pop(target, 0.0))
        reader = self._readers.pop(target, None)
        if reader is not None:
            profile = self._profiles[reader]
            ends_s += profile.let_go_s
            if profile.rested_bytes_per_s:
                self._freed.let_go(target.node, ends_s, _weight_bytes(profile, target))
        weights = self._mapped.pop(target, None)
        if weights is not None:
            self._mapped_until_s[weights] = max(ends_s, self._mapped_until_s.get(weights, 0.0))
        return ends_s


def _weight_bytes(profile: Profile, weights: Target) -> int:
    number = weights.key.partition(".")[2]
    return profile.facts.parts[int(number) - 1].weight_bytes if number else profile.facts.weight_bytes
