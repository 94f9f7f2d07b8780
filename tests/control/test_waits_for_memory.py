"""Who waits for memory that no request asks for has it as soon as it is there, and takes nobody's."""

from __future__ import annotations

from typing import Any

import pytest

from glowplug.core.commands import Climb, Descend, Target
from glowplug.core.events import Deployed, HeldChanged, NodeJoined, PressureChanged, StepLost, Undeployed
from glowplug.core.ids import FunctionId, NodeId, VersionId
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority
from glowplug.core.specs import BundleFacts, NodeSpec
from tests.control.ahead import PERIOD_S, call_regularly, climbs, ladder, serve, settings
from tests.control.test_preload_looks import late_while_busy
from tests.control.world import NODE, World, spec

ENVIRONMENT_BYTES, MODEL_BYTES = 110, 700


def plain(**changed: Any) -> Any:
    given = {"prewarm": "kept", "environment_estimate_bytes": ENVIRONMENT_BYTES, **changed}
    return settings("none", substrate="zygote", **given)


def wait(world: World, seconds: float = 600.0, step_s: float = 10.0) -> None:
    for _ in range(int(seconds / step_s)):
        world.advance(step_s)
        world.engine.answer_all()


def test_one_that_fits_does_not_wait_behind_others_that_do_not() -> None:
    big = BundleFacts(weight_bytes=5000, staged_bytes=90, parked_bytes=90, peak_bytes=190, pack="big")
    world = World(plain(), budget_bytes=6000)
    names = [f"b{n}" for n in range(8)]
    world.deploy(*(spec(name) for name in names))
    requests = [world.ask(name, timeout_s=1e5) for name in names]
    world.engine.answer_all()
    for number in range(4):
        world.post(Deployed(spec(f"big{number}", preload="always"), big))
    world.deploy(spec("kept", min_workers=1))
    world.engine.answer_all()
    assert world.standing("kept") != Step.PARKED
    world.post(Undeployed(FunctionId("b0.default")))
    world.gateway.finish(requests[0])
    wait(world, 60.0)
    assert world.standing("kept") == Step.PARKED


@pytest.mark.parametrize("always", [False, True])
def test_nobody_goes_for_the_environment_of_what_nobody_called(always: bool) -> None:
    world = World(
        plain(environment_estimate_bytes=1000)
        if always
        else ladder(prewarm="kept", environment_estimate_bytes=1000),
        budget_bytes=1710,
    )
    world.deploy(spec("called", preload="never"))
    serve(world, "called")
    before = len(world.commands)
    world.deploy(spec("new", environment="e2", preload="always" if always else "auto"))
    wait(world, 60.0, 5.0)
    assert world.standing("called") == Step.PARKED
    assert not [c for c in world.commands[before:] if isinstance(c, Descend)]


def test_what_only_fills_memory_gives_way_to_what_is_foreseen_where_a_share_is_spent() -> None:
    settings_ = ladder(
        prewarm="fixed", environment_estimate_bytes=ENVIRONMENT_BYTES, preload_cpu_share=4.0,
        preload_memory_share=0.22,
    )  # fmt: skip
    world = World(settings_, budget_bytes=10_000)
    world.deploy(*(spec(f"uncalled{n}") for n in range(6)))
    wait(world, 30.0, 5.0)
    assert world.state.context.store.preloads.started >= 2
    world.deploy(spec("called", keep_warm_s=1.0))
    for _ in range(20):
        serve(world, "called")
        world.engine.answer_all()
        world.advance(PERIOD_S)
    ahead = [climb for climb in climbs(world, "called") if climb.priority == Priority.BACKGROUND]
    assert len(ahead) > 10
    share = 0.22 * world.state.context.store.ledger.budget[NODE]
    assert world.state.context.store.preloads.unused_bytes(NODE) <= share


def test_a_zygote_that_was_staged_in_vain_goes() -> None:
    settings_ = ladder(
        prewarm="fixed", environment_estimate_bytes=ENVIRONMENT_BYTES, preload_cpu_share=4.0,
        preload_memory_share=0.018, preload_uncalled=False,
    )  # fmt: skip
    world = World(settings_, budget_bytes=10_000)
    names = ["f", "g"]
    world.deploy(*(spec(name, keep_warm_s=1.0) for name in names))
    seconds = world.state.context.policies.costs.seconds

    def call(*called: str) -> None:
        for name in called:
            seconds.setdefault(f"{name}-v1", {}).update(imported=1.0, staged=0.1)
            serve(world, name)
        world.engine.answer_all()

    call(*names)
    for _ in range(12):
        call(*names)
        world.advance(PERIOD_S)
    world.engine.answer_all()
    ahead = [
        c for c in world.commands
        if isinstance(c, Climb) and c.target.kind == "version" and c.priority == Priority.BACKGROUND
    ]  # fmt: skip
    assert ahead
    preloads = world.state.context.store.preloads
    wait(world, 3600.0)
    assert not preloads.zygotes
    assert preloads.unused_bytes(NODE) == 0


def test_where_no_environment_stands_a_worker_is_loaded_and_not_a_zygote() -> None:
    """A zygote would have nothing to climb from."""
    settings_ = ladder(
        prewarm="fixed", environment_estimate_bytes=ENVIRONMENT_BYTES, preload_cpu_share=4.0,
        preload_uncalled=False,
    )  # fmt: skip
    world = World(settings_, budget_bytes=10_000)
    world.deploy(spec("called", keep_warm_s=1.0))
    call_regularly(world, "called", 12)
    serve(world, "called")
    world.advance(1.5)
    world.engine.answer_all()
    targets = [each.target for each in world.state.context.store.holdings.values()]
    (environment,) = (target for target in targets if target.kind == "environment")
    world.engine.drop(environment)
    world.post(StepLost(target=environment, why="died", command=None, step=Step.LOCAL))
    for _ in range(16):
        world.advance(0.5)
        world.engine.answer_all()
    assert world.standing("called") == Step.PARKED


@pytest.mark.parametrize("lends", [True, False])
def test_a_node_that_others_need_is_relieved_when_its_workers_are_idle(lends: bool) -> None:
    world = World(plain(lends=lends), budget_bytes=1700)
    world.deploy(spec("a"), spec("b"))
    requests = [world.ask(name, timeout_s=3000.0) for name in "ab"]
    world.engine.answer_all()
    ledger = world.state.context.store.ledger
    world.post(PressureChanged(NODE, 900))
    assert ledger.free_bytes(NODE) < 0
    for request in requests:
        world.gateway.finish(request)
    world.gateway.report()
    wait(world, 60.0)
    assert ledger.free_bytes(NODE) >= 0


@pytest.mark.parametrize("declared", [{"preload": "always"}, {"min_workers": 1}], ids=str)
def test_a_node_that_joins_takes_what_waits_at_another(declared: dict[str, Any]) -> None:
    world = World(plain(), budget_bytes=ENVIRONMENT_BYTES + MODEL_BYTES + 50)
    world.deploy(spec("busy"))
    world.ask("busy", timeout_s=3000.0)
    world.engine.answer_all()
    world.deploy(spec("waits", **declared))
    wait(world, 20.0)
    assert world.standing("waits") != Step.PARKED
    world.post(NodeJoined(NodeSpec(NodeId("b"), 10_000, 2)))
    wait(world, 20.0)
    assert world.standing("waits") == Step.PARKED


@pytest.mark.parametrize("uncalled", [False, True])
def test_what_is_always_to_be_there_comes_when_its_share_of_a_core_is_there(uncalled: bool) -> None:
    settings_ = ladder(
        prewarm="kept", environment_estimate_bytes=ENVIRONMENT_BYTES, preload_cpu_share=0.02,
        preload_uncalled=uncalled,
    )  # fmt: skip
    world = World(settings_, budget_bytes=100_000)
    world.deploy(spec("first"))
    serve(world, "first")
    preloads = world.state.context.store.preloads
    preloads.may_spend(NODE, 0.0, 0.02, world.clock.now_s)
    preloads.allowances[NODE].left_s = -0.6
    world.deploy(spec("always", preload="always"))
    for _ in range(45):
        world.advance(1.0)
        world.engine.answer_all()
    assert world.standing("always") == Step.PARKED


def test_a_climb_that_was_put_off_is_no_second_copy() -> None:
    settings_ = ladder(
        prewarm="fixed", environment_estimate_bytes=ENVIRONMENT_BYTES, preload_cpu_share=4.0,
        preload_memory_share=0.03, preload_uncalled=False,
    )  # fmt: skip
    world = World(settings_, budget_bytes=10_000)
    world.deploy(*(spec(name, keep_warm_s=1.0, max_workers=4) for name in "fg"))
    preloads = world.state.context.store.preloads
    for _ in range(13):
        for name in "gf":
            serve(world, name)
        world.engine.answer_all()
        world.advance(PERIOD_S)
    for name in "gf":
        serve(world, name)
    world.engine.answer_all()
    for _ in range(105):
        if preloads.wanted:
            break
        world.advance(0.1)
        world.engine.answer_all()
    (waits,) = preloads.wanted
    name = waits.split(".")[0]
    before = len(climbs(world, name))
    world.ask(name)
    world.engine.answer_all()
    world.ask("f" if name == "g" else "g")
    world.engine.answer_all()
    world.advance(1.1)
    assert len(climbs(world, name)) <= before + 1
    assert world.state.context.store.versions[VersionId(f"{name}-v1")].live == 1


def test_a_deploy_with_the_same_policy_keeps_what_it_foresees() -> None:
    world = World(plain(prewarm="histogram"), budget_bytes=10_000)
    world.deploy(spec("t"))
    for _ in range(5):
        serve(world, "t")
        world.engine.answer_all()
        world.advance(600.0)
        world.engine.answer_all()
    serve(world, "t")
    world.engine.answer_all()
    before = [key for key in world.timers if key.startswith("prewarm:")]
    world.deploy(spec("t", "2"))
    world.engine.answer_all()
    assert before
    assert [key for key in world.timers if key.startswith("prewarm:")] == before


def test_a_worker_that_outgrew_its_room_is_not_ended_after_each_answer() -> None:
    world = World(plain(), budget_bytes=ENVIRONMENT_BYTES + MODEL_BYTES + 20)
    world.deploy(spec("f"))
    serve(world, "f")
    for _ in range(5):
        request = world.ask("f")
        (instance,) = world.state.context.store.instances.values()
        world.post(HeldChanged(Target("instance", NODE, str(instance.id)), 1000))
        world.answer(request)
        world.gateway.report()
        world.engine.answer_all()
    assert len(climbs(world, "f")) == 1


def test_a_timer_of_an_earlier_version_wakes_nobody() -> None:
    world = World(plain(prewarm="histogram"), budget_bytes=10_000)
    world.deploy(spec("t"))
    for _ in range(4):
        serve(world, "t")
        world.advance(600.0)
        world.engine.answer_all()
    serve(world, "t")
    world.engine.answer_all()
    assert [key for key in world.timers if key.startswith("prewarm:")]
    world.deploy(spec("t", "2", prewarm="fixed", keep_warm_s=60.0))
    world.engine.answer_all()
    assert not [key for key in world.timers if key.startswith("prewarm:")]
    before = len(climbs(world, "t"))
    wait(world, 1200.0, 60.0)
    assert len(climbs(world, "t")) == before


def test_a_run_that_is_overdue_is_not_looked_at_all_the_time() -> None:
    """Of runs of a millisecond, of which one hangs: who waits for its memory looks again now and then."""
    world, *_ = late_while_busy(0.001)
    before = len(world.events)
    world.advance(1.5)
    assert len(world.events) - before < 200
