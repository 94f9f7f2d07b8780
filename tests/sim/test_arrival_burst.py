"""10,000 functions that arrive in one second, under `ladder`: each call is answered or refused, and the
controller has no more to do for a call than where there are fewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator

import msgspec

from glowplug.core.events import Deployed, Event, NodeJoined
from glowplug.core.ids import FunctionId
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import NodeSpec
from glowplug.policy.eviction.ladder import Ladder as Evicting
from glowplug.policy.preload import Decision, PreloadView
from glowplug.policy.preload.ladder import Ladder
from glowplug.sim.footprints import PUBLISHED, zygote_profile
from glowplug.sim.gateway import Ask
from glowplug.sim.simulation import Simulation
from tests.control.world import spec

BEGIN_S, AGAIN_S, END_S = 10.0, 70.0, 150.0
EVERY = 5
"""One of so many comes again, so that a next call is foreseen."""
STEP_S = 0.1
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
    """How often something was looked at that could go."""

    weighed: int = 0

    def victims(
        self, node: str, need_bytes: int, keep: Collection[str], limit: float, current: Callable[[str], float]
    ) -> list[str]:
        self.weighed += len(self.offers)
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
