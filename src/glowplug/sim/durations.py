"""How long a command takes by its function's profile, before anything varies it."""

from __future__ import annotations

from glowplug.core.commands import Climb, Target
from glowplug.core.ladder import Step
from glowplug.policy.costs import Costs
from glowplug.sim.profile import Profile


def of_climb(profile: Profile, command: Climb) -> tuple[float, int, int]:
    """The seconds of the climb, the bytes that it has to read from disk first, and those that its target
    holds when it has arrived."""
    kind = command.target.kind
    if kind == "environment":
        return profile.environment_s, 0, profile.environment_bytes
    if kind == "version":
        took_s, held_bytes = profile.stage_s, profile.facts.staged_bytes
    elif kind == "part":
        took_s, held_bytes = profile.imported_s, profile.facts.parked_bytes
    else:
        near = command.origin >= Step.STAGED or (command.cached and command.device is not None)
        took_s = profile.staged_s if near else profile.imported_s
        took_s += profile.prime_s if command.prime else 0.0
        held_bytes = profile.facts.parked_bytes
    if command.cached or not profile.read_bytes_per_s:
        return took_s, 0, held_bytes
    return took_s, _weight_bytes(profile, command.target), held_bytes


def of_read(profile: Profile, nbytes: int, rested_bytes: int) -> float:
    """With so many of the bytes coming to memory that nobody had for a while."""
    if not nbytes:
        return 0.0
    rested_per_s = profile.rested_bytes_per_s or profile.read_bytes_per_s
    return (nbytes - rested_bytes) / profile.read_bytes_per_s + rested_bytes / rested_per_s


def of_batch(profile: Profile, size: int) -> float:
    """As measured, between measured sizes by proportion; beyond them no gain that nobody has seen."""
    costs = Costs(batches={"": profile.batch_s}, seconds={"": {"run": profile.run_s}})
    return costs.batch_s("", size)


def _weight_bytes(profile: Profile, target: Target) -> int:
    """Those of the worker that climbs."""
    if target.kind != "part":
        return profile.facts.weight_bytes
    return profile.facts.parts[int(target.key.rpartition(".")[2]) - 1].weight_bytes
