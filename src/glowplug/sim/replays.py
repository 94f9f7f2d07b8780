"""Replays of traces: one system, on one cluster, for one trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, inf
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.core.events import Deployed, Event, NodeJoined
from glowplug.core.ids import EnvironmentId, FunctionId, VersionId
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import Declaration, FunctionSpec, NodeSpec
from glowplug.sim.footprints import PUBLISHED, Footprint, process_profile, zygote_profile
from glowplug.sim.gateway import Answer, Ask
from glowplug.sim.oracle import inform
from glowplug.sim.profile import Profile
from glowplug.sim.simulation import Simulation
from glowplug.sim.standing import Standing
from glowplug.sim.workloads.trace import Trace

_START_S = 10.0
"""Everything is deployed when the first call comes; environments climb for those that need them."""
_AFTER_S = 3600.0
_FOREVER_S = 1e7
_NO_WAIT_S = 1e-3
_SAMPLE_S, _MOST_SAMPLES = 10.0, 10_000
"""A sample has an entry for each function: longer traces, from 28 hours on, are looked at less often."""
_PARTS = 20
"""Of the time between two samples: after each is told how far it is."""


class System(msgspec.Struct, frozen=True):
    """What is compared. `helpers`: a request waits behind a busy copy where that beats a cold start, and
    nodes have a pool of imported processes. `keeps_loaded`: a sandbox keeps its model after an answer;
    `displaces`: until a guest that is worth more needs the room. A sandbox's limit is its model's size, or
    `limit_bytes` if that is more. `cpu_share` is of one core, at each node, for climbs that nobody waits
    for. `uncalled`: ladder loads what nobody has called yet, too."""

    name: str
    prewarm: str = "fixed"
    preload: str = "none"
    eviction: str = "lru"
    substrate: Literal["process", "zygote"] = "process"
    helpers: bool = True
    keeps_loaded: bool = True
    displaces: bool = False
    limit_bytes: int = 0
    cpu_share: float = inf
    uncalled: bool = True


class Cluster(msgspec.Struct, frozen=True):
    """`memory_share` is of what keeping every function loaded would need, on the `process` substrate whatever
    the system's is, divided over the nodes."""

    nodes: int = 4
    memory_share: float = 0.25
    keep_warm_s: float = 600.0

    def node_bytes(self, models: tuple[Footprint, ...], functions: int) -> int:
        return int(all_loaded_bytes(models, functions) * self.memory_share / self.nodes)


def all_loaded_bytes(models: tuple[Footprint, ...], functions: int) -> int:
    return sum(models[i % len(models)].loaded_bytes for i in range(functions))


def least_node_bytes(
    trace: Trace, systems: Sequence[System], models: tuple[Footprint, ...] = PUBLISHED
) -> int:
    """What a node must have so that each function that is called can run there by itself under each system.
    Function i has model i mod n."""
    called = {models[i % len(models)] for i in np.flatnonzero(trace.counts()).tolist()}
    return max(_least_bytes(model, system) for model in called for system in systems)


def _least_bytes(model: Footprint, system: System) -> int:
    if system.substrate == "zygote":
        profile = zygote_profile(model)
        return profile.environment_bytes + profile.facts.parked_bytes + model.weight_bytes
    profile = process_profile(model, system.helpers)
    return profile.environment_bytes + max(model.loaded_bytes, system.limit_bytes)


class Replayed(msgspec.Struct, frozen=True, eq=False):
    """`waits_s` is each answer's latency less its run time. In `failed` is what failed, and what had no
    answer an hour after the last call."""

    latencies_s: NDArray[np.float64]
    waits_s: NDArray[np.float64]
    waited: int
    """Answers that waited for a load or behind others, and not only for their way to a worker and back."""
    failed: int
    preloaded: int
    """Requests whose first use of an instance was of one that had been loaded ahead; `preloaded_late` of
    those came while it was still loading."""
    preloaded_late: int
    kept: int | None
    """Requests that found their model loaded by an earlier one, or by a pre-warm policy; None where that is
    not counted."""
    started: int
    """As `cpu_s` and `loading_s` until an hour after the last call."""
    wasted: int
    """Until the last call, with what was still unused then; as `wasted_byte_s`."""
    wasted_byte_s: float
    cpu_s: float
    """Of climbing ahead; `loading_s` is that of all loads, those that requests waited for among them."""
    loading_s: float
    memory_s: NDArray[np.float64]
    memory_bytes: NDArray[np.float64]
    """What all nodes held, at the times of `memory_s`."""
    steps: NDArray[np.uint8]
    """(times, functions): the best Step of each then."""
    held_bytes: NDArray[np.float64]
    """(times, HELD_ON): what was held on each step (sim.standing)."""


def replay(
    trace: Trace,
    system: System,
    cluster: Cluster,
    *,
    models: tuple[Footprint, ...] = PUBLISHED,
    seed: int = 0,
    shares_weights: bool = False,
    prepare: Callable[[Simulation], None] = lambda simulation: None,
    tell: Callable[[float], None] = lambda share: None,
) -> Replayed:
    """Plays the trace; function i has model i mod n, and weights of its own or with `shares_weights` those of
    all that have this model. `tell` hears the share of the calls that have been answered."""
    profiles: dict[FunctionId, Profile] = {}
    budget_bytes = cluster.node_bytes(models, trace.functions)
    scenario: list[tuple[float, Event | Ask]] = [
        (0.0, NodeJoined(NodeSpec(f"n{n}", budget_bytes, 16))) for n in range(cluster.nodes)
    ]
    names: list[FunctionId] = []
    for number in range(trace.functions):
        model = models[number % len(models)]
        if system.substrate == "zygote":
            profile = zygote_profile(model)
        else:
            profile = process_profile(model, system.helpers)
        if shares_weights:
            shared = msgspec.structs.replace(profile.facts, pack=model.name)
            profile = msgspec.structs.replace(profile, facts=shared)
        spec = _spec(number, model, system, cluster)
        names.append(spec.function)
        profiles[spec.function] = profile
        scenario.append((0.0, Deployed(spec, profile.facts)))
    scenario += [(_START_S + at_s, Ask(names[f], timeout_s=_FOREVER_S)) for at_s, f in trace.events()]
    simulation = Simulation(profiles, _settings(system, seed, shares_weights), seed=seed, keep_log=False)
    if system.preload == "clairvoyant":
        calls_s: dict[FunctionId, list[float]] = {name: [] for name in names}
        for at_s, f in trace.events():
            calls_s[names[f]].append(_START_S + at_s)
        inform(simulation, calls_s, max(model.load_s for model in models))
    prepare(simulation)
    return _measure(simulation, scenario, profiles, trace.span_s, tell)


def _measure(
    simulation: Simulation,
    scenario: list[tuple[float, Event | Ask]],
    profiles: dict[FunctionId, Profile],
    span_s: float,
    tell: Callable[[float], None],
) -> Replayed:
    times: list[float] = []
    held: list[float] = []
    standing, functions = Standing(), list(profiles)
    store = simulation.state.context.store
    asked = sum(isinstance(item, Ask) for _, item in scenario)

    def run(until_s: float, parts: int) -> list[Answer]:
        """In parts, so that somebody hears of them: of a burst each second may take long."""
        from_s, items = simulation.agenda.now_s, scenario if not times else []
        for part in range(1, parts + 1):
            at_s = until_s if part == parts else from_s + (until_s - from_s) * part / parts
            answers = simulation.run(items, at_s).answers
            items = []
            tell(len(answers) / max(1, asked))
        return answers

    whole_s = span_s + _START_S
    sample_s = max(_SAMPLE_S, whole_s / _MOST_SAMPLES)
    for sample in range(min(ceil(whole_s / _SAMPLE_S), _MOST_SAMPLES)):
        at_s = (sample + 1) * sample_s
        run(at_s, _PARTS)
        times.append(at_s - _START_S)
        held.append(float(sum(store.ledger.used.values())))
        standing.look(simulation.state, functions)
    preloads = store.preloads
    wasted = preloads.wasted + len(preloads.unused)
    wasted_byte_s = preloads.wasted_byte_s + preloads.unused_byte_s(at_s)
    answers = run(whole_s + _AFTER_S, ceil(_AFTER_S))
    good = [answer for answer in answers if answer.code == "ok"]
    latencies = np.array([answer.latency_s for answer in good])
    runs = np.array([profiles[answer.function].run_s for answer in good])
    waits_s = np.maximum(latencies - runs, 0.0)
    return Replayed(
        latencies_s=latencies,
        waits_s=waits_s,
        waited=int(np.count_nonzero(waits_s > _NO_WAIT_S)),
        failed=asked - len(good),
        preloaded=preloads.used,
        preloaded_late=preloads.used_late,
        kept=simulation.found_loaded - (preloads.used - preloads.used_late),
        started=preloads.started,
        wasted=wasted,
        wasted_byte_s=wasted_byte_s,
        cpu_s=preloads.seconds,
        loading_s=simulation.loading_s,
        memory_s=np.array(times),
        memory_bytes=np.array(held),
        steps=standing.by_function(),
        held_bytes=standing.by_place(),
    )


def _spec(number: int, model: Footprint, system: System, cluster: Cluster) -> FunctionSpec:
    name = f"f{number}"
    declaration = Declaration(
        name=name,
        kind="model",
        module="replayed",
        qualname="Model",
        memory_bytes=max(model.loaded_bytes, system.limit_bytes),
        max_queue=10**6,
        max_workers=10**6 if system.substrate == "process" else 64,
        timeout_s=_FOREVER_S,
        keep_warm_s=cluster.keep_warm_s,
        prewarm=system.prewarm,
    )
    return FunctionSpec(
        function=FunctionId(f"{name}.default"),
        version=VersionId(f"{name}-1"),
        namespace="default",
        environment=EnvironmentId("shared"),
        upload="replayed",
        declaration=declaration,
    )


def _settings(system: System, seed: int, shares_weights: bool) -> ControlSettings:
    return ControlSettings(
        seed=seed,
        dispatch="finish-first" if system.helpers else "scale-out",
        eviction=system.eviction,
        prewarm=system.prewarm,
        preload=system.preload,
        preload_cpu_share=system.cpu_share,
        preload_uncalled=system.uncalled,
        substrate=system.substrate,
        keeps_loaded=system.keeps_loaded,
        guests_displace=system.displaces,
        shares_weights=shares_weights,
        lends=False,
        max_queued=10**7,
        eager_stage=system.substrate == "zygote",
        reserve_margin_bytes=0,
        reserve_factor=1.0,
        environment_estimate_bytes=0,
    )
