"""What loading ahead costs where nothing of it is ever used, as nobody calls what has been loaded for it, and
what it brings once predictions come true."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from glowplug.core.events import Deployed, NodeJoined
from glowplug.core.ids import EnvironmentId, FunctionId, VersionId
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import Declaration, FunctionSpec, NodeSpec
from glowplug.sim.footprints import PUBLISHED, process_profile
from glowplug.sim.gateway import Ask
from glowplug.sim.simulation import Simulation

MODELS = (*PUBLISHED, *PUBLISHED[:4])
NAMES = tuple(FunctionId(f"f{number}.default") for number in range(len(MODELS)))
PROFILES = {name: process_profile(model, pool=True) for name, model in zip(NAMES, MODELS, strict=True)}
GAP_S = 5.0
CALLS = 500
ALLOWED = 1.05

Calls = list[tuple[float, FunctionId]]
Chooser = Callable[[Random, list[FunctionId], dict[FunctionId, float]], FunctionId]
"""Who calls next, of those who may, by when each was called last."""


def simulation_of(preload: str, memory_share: float) -> Simulation:
    settings = ControlSettings(
        preload=preload, eviction="ladder", prewarm="kept", substrate="process", lends=False,
        reserve_margin_bytes=0, reserve_factor=1.0, environment_estimate_bytes=0,
    )  # fmt: skip
    made = Simulation(PROFILES, settings)
    budget_bytes = int(memory_share * sum(model.loaded_bytes for model in MODELS))
    made.run([(0.0, NodeJoined(NodeSpec("n", budget_bytes, 16)))], 0.0)
    for name, model in zip(NAMES, MODELS, strict=True):
        short = name.partition(".")[0]
        declaration = Declaration(
            name=short, kind="model", module="m", qualname="M", memory_bytes=model.loaded_bytes
        )
        spec = FunctionSpec(
            name, VersionId(f"{short}-1"), "default", EnvironmentId("e"), upload="u", declaration=declaration
        )
        made.run([(0.0, Deployed(spec, PROFILES[name].facts))], 10.0)
    return made


def anybody(rng: Random, among: list[FunctionId], called_s: dict[FunctionId, float]) -> FunctionId:
    return rng.choice(among)


def popular(rng: Random, among: list[FunctionId], called_s: dict[FunctionId, float]) -> FunctionId:
    return rng.choices(among, [1 / (NAMES.index(name) + 1) for name in among])[0]


def idle_longest(rng: Random, among: list[FunctionId], called_s: dict[FunctionId, float]) -> FunctionId:
    return min(among, key=lambda name: called_s.get(name, 0.0))


def play_against(simulation: Simulation, choose: Chooser) -> Calls:
    """Whoever calls next has nothing there that was loaded ahead."""
    rng, now_s, calls = Random(1), 10.0, []
    called_s: dict[FunctionId, float] = {}
    store = simulation.state.context.store
    while len(calls) < CALLS:
        now_s += GAP_S * rng.uniform(0.7, 1.3)
        simulation.run([], now_s)
        foreseen = {store.instances[number].function for number in store.preloads.unused}
        name = choose(rng, [name for name in NAMES if name not in foreseen], called_s)
        simulation.run([(now_s, Ask(name))], now_s)
        called_s[name] = now_s
        calls.append((now_s, name))
    return calls


def mean_latency_s(simulation: Simulation, calls: Calls) -> float:
    answers = simulation.run([], calls[-1][0] + 100.0).answers[-len(calls) :]
    assert [answer.code for answer in answers] == ["ok"] * len(calls)
    return sum(answer.latency_s for answer in answers) / len(calls)


@pytest.mark.parametrize("memory_share", [0.3, 0.5])
@pytest.mark.parametrize("choose", [anybody, popular, idle_longest])
def test_predictions_that_are_all_wrong_cost_little(memory_share: float, choose: Chooser) -> None:
    ahead, without = (simulation_of(preload, memory_share) for preload in ("ladder", "none"))
    calls = play_against(ahead, choose)
    without.run([(at_s, Ask(name)) for at_s, name in calls], 10.0)
    preloads = ahead.state.context.store.preloads
    assert preloads.started >= 5
    assert preloads.used == 0
    assert mean_latency_s(ahead, calls) <= ALLOWED * mean_latency_s(without, calls)


def test_predictions_that_come_true_again_are_believed_again() -> None:
    ahead, without = (simulation_of(preload, 0.3) for preload in ("ladder", "none"))
    wrong = play_against(ahead, idle_longest)
    without.run([(at_s, Ask(name)) for at_s, name in wrong], 10.0)
    begin_s, used = wrong[-1][0] + 2 * GAP_S, ahead.state.context.store.preloads.used
    calls = [(begin_s + GAP_S * turn, NAMES[turn % len(NAMES)]) for turn in range(2 * CALLS)]
    means_s = []
    for simulation in (ahead, without):
        simulation.run([(at_s, Ask(name)) for at_s, name in calls], begin_s)
        means_s.append(mean_latency_s(simulation, calls))
    assert used == 0
    assert ahead.state.context.store.preloads.used > CALLS / 2
    assert means_s[0] < 0.8 * means_s[1]
