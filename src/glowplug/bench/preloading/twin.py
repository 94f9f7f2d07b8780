"""A live run of pre-loading again, in virtual time, with what models took and held when nothing else ran."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from glowplug.bench.live.load import Outcome
from glowplug.bench.live.times import Measured
from glowplug.bench.live.twin import OUTSIDE, LiveRun, built, durations
from glowplug.bench.preloading.gone import Gone
from glowplug.core.events import Event, StepReached
from glowplug.core.ids import FunctionId, function_id
from glowplug.core.rng import rng_for
from glowplug.core.specs import BundleFacts
from glowplug.loader.pagecache import evict_page_cache
from glowplug.sim.gateway import Answer, Ask
from glowplug.sim.profile import Profile
from glowplug.sim.simulation import Simulation

SHIFTS, SHIFT_S = 6, 0.02
"""So often calls are moved at random, each by so much at most, to see what that changes."""
_SETTLE_S = 120.0
_TIMEOUT_S = 120.0


class Simulated(msgspec.Struct, frozen=True, eq=False):
    """`waits_s` are answers' latencies less what their run takes; nothing where a worker was parked, for what
    they wait for there is no load. In `failed` are those without an answer too."""

    latencies_s: list[float]
    waits_s: list[float]
    parked: int
    failed: int


def profiles(
    run: LiveRun, measured: dict[str, Measured], left: dict[FunctionId, Gone]
) -> dict[FunctionId, Profile]:
    """`run` is the one in which was measured: how long zygotes took, and what they held. `left` is how long
    they took to go, all of each function that was seen to. What memory costs that rested is the machine's, so
    one pace of all functions together."""
    facts, functions = built(run)
    took = durations(run)
    environment_bytes = max(
        event.held_bytes
        for _, event in run.events
        if isinstance(event, StepReached) and event.target.kind == "environment"
    )
    rested_bytes_per_s = _rested_bytes_per_s(facts, measured)

    def mean(function: FunctionId, move: str, otherwise: float) -> float:
        return statistics.mean(took.get((function, move)) or [otherwise])

    def going(function: FunctionId, part: Callable[[Gone], list[float]], otherwise: float) -> float:
        mine = part(left[function]) if function in left else []
        return statistics.mean(mine or [s for each in left.values() for s in part(each)] or [otherwise])

    def profile(function: FunctionId, seen: Measured) -> Profile:
        read_s = max(1e-3, seen.cold_s - seen.imported_s)
        return Profile(
            environment_s=mean(function, "environment", Profile().environment_s),
            stage_s=mean(function, "stage", Profile().stage_s),
            imported_s=max(1e-3, seen.imported_s - seen.run_s),
            staged_s=max(1e-3, seen.staged_s - seen.run_s),
            prime_s=seen.run_s,
            run_s=seen.run_s,
            descend_s=going(function, lambda each: each.processes_s, Profile().descend_s),
            let_go_s=going(function, lambda each: each.weights_s, 0.0),
            read_bytes_per_s=facts[function].weight_bytes / read_s,
            rested_bytes_per_s=rested_bytes_per_s,
            environment_bytes=environment_bytes,
            facts=facts[function],
        )

    return {function: profile(function, measured[_name(function)]) for function in functions}


def simulate(
    run: LiveRun, found: dict[FunctionId, Profile], calls: Sequence[tuple[float, str]], seed: int = 0
) -> Simulated:
    """The calls (second on the journal's clock, function) again, under the run's own settings and with what
    an operator did in it: the libraries' zygote takes as long as it took there, for it was up before the
    first call. `seed` is of durations, where they vary."""
    start_s, took = run.events[0][0], durations(run)
    found = {
        function: msgspec.structs.replace(
            profile,
            environment_s=statistics.mean(took.get((function, "environment")) or [profile.environment_s]),
        )
        for function, profile in found.items()
    }
    scenario: list[tuple[float, Event | Ask]] = [
        (at_s - start_s, event) for at_s, event in run.events if isinstance(event, OUTSIDE)
    ]
    scenario += [(at_s - start_s, Ask(function_id(name), _TIMEOUT_S)) for at_s, name in calls]
    simulation = Simulation(found, run.settings, seed=seed, keep_log=False, shares_disks=True)
    answers = simulation.run(scenario, max(at_s for at_s, _ in scenario) + _SETTLE_S).answers
    good = [answer for answer in answers if answer.code == "ok"]
    return Simulated(
        [answer.latency_s for answer in good],
        [_wait_s(answer, found) for answer in good],
        sum(answer.parked for answer in good),
        len(calls) - len(good),
    )


def spread(
    run: LiveRun,
    found: dict[FunctionId, Profile],
    calls: Sequence[tuple[float, str]],
    seed: int,
    measured: dict[str, Measured],
) -> list[float]:
    """Mean seconds of waiting, of SHIFTS times the same calls at moments that are a little off, all durations
    varied by as much as loads varied when they were measured: what of an order of policies is chance. The
    n-th call is moved alike in every run."""
    means = []
    jitter = 2 * statistics.mean(each.varies for each in measured.values())
    found = {name: msgspec.structs.replace(profile, jitter=jitter) for name, profile in found.items()}
    for number in range(SHIFTS):
        draw = rng_for(seed, number)
        moved = [(at_s + draw.uniform(-SHIFT_S, SHIFT_S), name) for at_s, name in calls]
        means.append(statistics.mean(simulate(run, found, moved, seed + number).waits_s))
    return means


def calls_of(outcomes: Sequence[Outcome], names: Sequence[str]) -> list[tuple[float, str]]:
    """When each was sent, on the journal's clock, which is the wall's."""
    offset_s = time.time() - time.monotonic()
    return [(outcome.sent_s + offset_s, name) for outcome, name in zip(outcomes, names, strict=True)]


def forget_weights(packs: Path) -> None:
    """Lets all packs of a server that does not run go from the page cache."""
    for pack in packs.glob("*.pack"):
        evict_page_cache(pack)


def _wait_s(answer: Answer, found: dict[FunctionId, Profile]) -> float:
    return 0.0 if answer.parked else max(0.0, answer.latency_s - found[answer.function].run_s)


def _rested_bytes_per_s(facts: dict[FunctionId, BundleFacts], measured: dict[str, Measured]) -> float:
    seen = {function: measured[_name(function)] for function in facts}
    read_s = sum(max(1e-3, each.rested_s - each.imported_s) for each in seen.values())
    return sum(facts[function].weight_bytes for function in seen) / read_s


def _name(function: FunctionId) -> str:
    return function.rpartition(".")[0]
