"""Functions that arrive in one second, under `ladder`: 10,000 at one node, where each call is answered or
refused, and hundreds at nodes with memory in proportion to them, so that where there are more, more wait and
more could go for them. The controller has no more to do for a call than where there are fewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator

import msgspec
import numpy as np

from glowplug.core.commands import Command
from glowplug.core.events import Deployed, Event, NodeJoined
from glowplug.core.ids import FunctionId
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import NodeSpec
from glowplug.policy.eviction import Worth
from glowplug.policy.eviction.ladder import Ladder as Evicting
from glowplug.policy.preload import Decision, PreloadView
from glowplug.policy.preload.ladder import Ladder
from glowplug.sim.footprints import PUBLISHED, zygote_profile
from glowplug.sim.gateway import Ask
from glowplug.sim.replays import Cluster, replay
from glowplug.sim.simulation import Simulation
from glowplug.sim.systems import system_of
from glowplug.sim.workloads.trace import Facts, Trace
from tests.control.world import spec

BEGIN_S, AGAIN_S, END_S = 10.0, 70.0, 150.0
EVERY = 5
"""One of so many comes again, so that a next call is foreseen."""
STEP_S = 0.1
LEAST_OFFERED = 20
WORST = 8.0
"""Times that something is scored in one event: it is once each time something changes meanwhile."""
SETTINGS = ControlSettings(preload="ladder", eviction="ladder", prewarm="kept", lends=False)


class Counted(Ladder):
    """How often the policy was asked, and what it decided."""

    asked: int = 0
    looked: int = 0
    decided: int = 0

    def _look(self, view: PreloadView, function: FunctionId, now_s: float, next_s: float) -> Decision | None:
        self.looked += 1
        return Ladder._look(self, view, function, now_s, next_s)

    def decide(self, view: PreloadView, now_s: float) -> Iterator[Decision]:
        self.asked += 1
        for decision in Ladder.decide(self, view, now_s):
            self.decided += 1
            yield decision


class CountedEvicting(Evicting):
    """How often something was looked at that could go, how often that was asked for, and how often anything
    was scored."""

    weighed: int = 0
    asked: int = 0
    scored: int = 0

    def score(self, worth: Worth) -> float:
        self.scored += 1
        return Evicting.score(self, worth)

    def victims(
        self, node: str, need_bytes: int, keep: Collection[str], limit: float, current: Callable[[str], float]
    ) -> list[str]:
        self.weighed += len(self.offers)
        self.asked += 1
        return Evicting.victims(self, node, need_bytes, keep, limit, current)


class Burst(msgspec.Struct):
    """Of all that a burst came to, what is a number a call."""

    codes: Counter[str]
    events: float
    commands: float
    asked: float
    looked: float
    decided: float
    weighed: float


def burst(functions: int) -> Burst:
    """Validates what must hold again and again, and that nothing is left at the end."""
    specs = [spec(f"f{number}", memory_bytes=2 * 10**9) for number in range(functions)]
    profiles = {each.function: zygote_profile(PUBLISHED[n % len(PUBLISHED)]) for n, each in enumerate(specs)}
    simulation = Simulation(profiles, SETTINGS)
    c = simulation.state.context
    preload, eviction = Counted(), CountedEvicting()
    c.policies = msgspec.structs.replace(c.policies, preload=preload, eviction=eviction)
    asked: Counter[FunctionId] = Counter()
    scenario: list[tuple[float, Event | Ask]] = [(0.0, NodeJoined(NodeSpec("n", 8 * 10**9, 16)))]
    for number, each in enumerate(specs):
        at_s = number / functions
        scenario.append((BEGIN_S + at_s, Deployed(each, profiles[each.function].facts)))
        for wave_s in (BEGIN_S, AGAIN_S)[: 1 + (number % EVERY == 0)]:
            scenario.append((wave_s + at_s, Ask(each.function, timeout_s=20.0)))
            asked[each.function] += 1
    calls, now_s = asked.total(), 0.0
    while now_s < END_S:
        now_s += STEP_S
        result = simulation.run(scenario, now_s)
        scenario = []
        assert c.store.waiting.length <= SETTINGS.max_queued
        assert c.store.ledger.free_bytes("n") >= 0
        assert len(preload.due) <= 256 + 8 * functions + 64
    simulation.state.validate()
    assert not c.store.requests
    assert not c.store.preloads.wanted
    assert not any(node.starved for node in c.store.nodes.values())
    assert Counter(answer.function for answer in result.answers) == asked
    return Burst(
        codes=Counter(answer.code for answer in result.answers),
        events=len(result.events) / calls,
        commands=len(result.commands) / calls,
        asked=preload.asked / calls,
        looked=preload.looked / calls,
        decided=preload.decided / calls,
        weighed=eviction.weighed / calls,
    )


def test_ten_thousand_functions_arrive_in_one_second() -> None:
    few, many = burst(1000), burst(10_000)
    assert set(many.codes) <= {"ok", "overloaded", "deadline_passed"}
    assert many.codes["ok"] > 0
    assert many.looked > 1.0, "nothing was foreseen"
    for name in ("events", "commands", "asked", "looked", "decided", "weighed"):
        assert getattr(many, name) <= 1.1 * getattr(few, name) + 0.05, name


class Scarce(msgspec.Struct):
    """`asked` is how often it was asked what may go, a call; `scores` how often on average an event had each
    thing on offer scored, and `worst` how often that was in one of them."""

    asked: float
    scores: float
    worst: float


def scarce(functions: int) -> Scarce:
    """Each is called once, at four nodes that have a tenth of the memory that all of them would need."""
    eviction = CountedEvicting()
    scores: list[float] = []

    def count(simulation: Simulation) -> None:
        c, handle = simulation.state.context, simulation.state.handle
        c.policies = msgspec.structs.replace(c.policies, eviction=eviction)

        def counted(event: Event, now_s: float) -> list[Command]:
            before = eviction.scored
            commands = handle(event, now_s)
            scores.append((eviction.scored - before) / max(LEAST_OFFERED, len(eviction.offers)))
            return commands

        simulation.state.handle = counted  # type: ignore[method-assign]

    times_s = np.sort(np.random.default_rng(0).random(functions))
    names = tuple(f"f{number}" for number in range(functions))
    calls = np.arange(functions, dtype=np.int32)
    trace = Trace(times_s, calls, names, 1.0, Facts.unknown(functions))
    found = replay(trace, system_of("ladder", "zygote"), Cluster(nodes=4, memory_share=0.1), prepare=count)
    assert not found.failed
    assert found.waits_s.mean() > 0.1, "memory was not scarce"
    return Scarce(eviction.asked / functions, sum(scores) / len(scores), max(scores))


def test_of_those_that_wait_each_does_not_weigh_everything_anew() -> None:
    """Several hundred waiting functions are looked at again in one event; what could go for them is scored a
    few times in it and not once for each of them."""
    few, many = scarce(100), scarce(300)
    assert many.asked <= 1.15 * few.asked, "what may go is asked for the more often, the more functions wait"
    assert many.scores <= 0.2
    assert many.worst <= WORST
