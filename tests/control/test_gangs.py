"""Models over several workers, as the controller sees them."""

from __future__ import annotations

from typing import Any

import pytest

from glowplug.core.commands import AdmitGang, Climb, Descend, Target
from glowplug.core.events import Deployed
from glowplug.core.specs import BundleFacts, FunctionSpec, PartFacts
from tests.control.world import NODE, World, spec

FACTS = BundleFacts(
    weight_bytes=500, staged_bytes=90, parked_bytes=90, peak_bytes=190,
    parts=(PartFacts("p1", 300), PartFacts("p2", 400)),
)  # fmt: skip
WORKER_BYTES = 200
GANG_BYTES = 3 * WORKER_BYTES + 1200


def gang(name: str = "f", **declared: Any) -> FunctionSpec:
    return spec(name, workers=3, **declared)


def deployed(*specs: FunctionSpec, **options: Any) -> World:
    world = World(**options)
    for each in specs:
        world.post(Deployed(each, FACTS))
    return world


def held(world: World, kind: str) -> dict[str, int]:
    store = world.state.context.store
    return {
        h.target.key: store.ledger.held_bytes(key)
        for key, h in store.holdings.items()
        if h.target.kind == kind
    }


def climbs(world: World, kind: str) -> list[Target]:
    return [c.target for c in world.commands if isinstance(c, Climb) and c.target.kind == kind]


def test_a_request_brings_up_all_parts_at_once() -> None:
    world = deployed(gang())
    request = world.ask()
    world.engine.succeed(next(iter(world.engine.pending)))  # the environment
    (admitted,) = (c for c in world.commands if isinstance(c, AdmitGang))
    assert (admitted.head, admitted.workers) == (1, 3)
    assert [target.key for target in climbs(world, "part")] == ["1.1", "1.2"]
    assert held(world, "part") == {"1.1": WORKER_BYTES, "1.2": WORKER_BYTES}
    assert held(world, "weights") == {"f-v1": 500, "f-v1.1": 300, "f-v1.2": 400}
    world.answer(request)
    assert world.outcome(request) == "done"


def test_scale_to_zero_takes_the_whole_gang_down() -> None:
    world = deployed(gang(keep_warm_s=5.0))
    world.answer(world.ask())
    world.advance(60.0)
    world.engine.answer_all()
    world.gateway.report()
    world.advance(60.0)
    world.engine.answer_all()
    assert held(world, "part") == held(world, "instance") == {}
    assert len(held(world, "weights")) == 3


def test_of_two_gangs_that_do_not_fit_together_one_waits_and_holds_nothing() -> None:
    world = deployed(gang("f"), gang("g"), budget_bytes=1100 + GANG_BYTES)
    first, second = world.ask("f"), world.ask("g")
    world.engine.succeed(next(iter(world.engine.pending)))
    assert {key.partition("-")[0] for key in held(world, "weights")} == {"f"}
    assert len(held(world, "part")) == 2
    world.engine.answer_all()
    world.gateway.finish(first)
    for _ in range(4):
        world.engine.answer_all()
        world.gateway.report()
        world.advance(1.0)
    world.gateway.finish(second)
    assert world.outcome(first) == world.outcome(second) == "done"


@pytest.mark.parametrize("started", [False, True])
def test_a_part_that_dies_takes_its_gang_with_it(started: bool) -> None:
    world = deployed(gang())
    request = world.ask()
    world.engine.answer_all()
    if started:
        world.gateway.start(request)
    world.engine.exit(Target("part", NODE, "1.2"), "killed by 9")
    down = {c.target.key for c in world.commands if isinstance(c, Descend)}
    assert down == {"1", "1.1"}
    world.engine.answer_all()
    if started:
        assert world.outcome(request) == "worker_died"
        request = world.ask()
    world.answer(request)
    assert world.outcome(request) == "done"
    assert list(held(world, "instance")) == ["2"]
    assert list(held(world, "part")) == ["2.1", "2.2"]


def test_a_gang_outlives_the_request_that_began_its_climb() -> None:
    world = deployed(gang())
    request = world.ask()
    world.engine.succeed(next(iter(world.engine.pending)))
    climbing = list(world.engine.pending.values())
    world.gateway.cancel(request)
    world.advance(20.0)
    assert list(world.engine.pending.values()) == climbing
    world.engine.answer_all()
    assert not any(isinstance(c, Descend) for c in world.commands)


def test_a_part_that_cannot_climb_is_named() -> None:
    world = deployed(gang())
    request = world.ask()
    world.engine.succeed(next(iter(world.engine.pending)))
    (command,) = (c for c in world.engine.pending.values() if isinstance(c, Climb) and c.target.key == "1.2")
    world.engine.fail(command.id, "weights", "its pack is gone", permanent=True)
    world.engine.answer_all()
    assert world.outcome(request) == "weights"
    assert held(world, "part") == held(world, "instance") == {}


def test_a_gang_that_can_never_fit_is_refused() -> None:
    world = deployed(gang(), budget_bytes=1000 + GANG_BYTES - 1)
    request = world.ask()
    world.engine.answer_all()
    assert world.outcome(request) == "no_space"


def test_a_gang_is_evicted_whole() -> None:
    world = deployed(gang("f"), budget_bytes=1000 + GANG_BYTES)
    world.post(Deployed(spec("other"), BundleFacts(weight_bytes=900, peak_bytes=190)))
    world.answer(world.ask("f"))
    world.gateway.report()
    request = world.ask("other")
    for _ in range(6):
        world.engine.answer_all()
        world.gateway.report()
        world.advance(1.0)
    world.gateway.finish(request)
    assert world.outcome(request) == "done"
    assert held(world, "part") == {}
