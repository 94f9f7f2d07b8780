"""Explaining requests of simulated runs from their journals."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.control.explaining.explain import explain
from glowplug.control.journal import ReplayReport, entry_frame, frame, replay_segment
from glowplug.control.state import ControlState
from glowplug.core.events import Deployed, DeviceJoined, DeviceLost, Event, NodeJoined
from glowplug.core.explanation import Explanation
from glowplug.core.ids import DeviceId, FunctionId, NodeId, RequestId
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, DeviceSpec, NodeSpec
from glowplug.sim.gateway import Ask
from glowplug.sim.profile import Profile
from glowplug.sim.simulation import SimResult, Simulation
from tests.control.world import spec
from tests.depth import examples

SETTINGS = ControlSettings(eager_stage=False)
CARD, OTHER = DeviceId("n/card0"), DeviceId("n/card1")
Scenario = Iterable[tuple[float, Event | Ask]]


def on_device(name: str, device_bytes: int = 400, **declared: object) -> Deployed:
    facts = BundleFacts(device_bytes=device_bytes, run_s=0.1, load_s=1.0)
    return Deployed(spec(name, device="gpu", max_workers=9, max_queue=1000, **declared), facts)


def simulated(scenario: Scenario, settings: ControlSettings = SETTINGS) -> SimResult:
    found = list(scenario)
    deployed = [item for _, item in found if isinstance(item, Deployed)]
    profiles = {
        each.spec.function: Profile(
            environment_s=0.0, imported_s=1.0, staged_s=1.0, run_s=0.1, descend_s=0.0, environment_bytes=0,
            facts=each.facts or BundleFacts(),
        )
        for each in deployed
    }  # fmt: skip
    return Simulation(profiles, settings).run(found, 1000.0)


def journal(result: SimResult, settings: ControlSettings = SETTINGS, cut: int | None = None) -> list[bytes]:
    """As a live server would have written it; a second segment begins with event number `cut`."""
    state = ControlState(settings)
    segments = [frame(state.snapshot())]
    for number, (now_s, event) in enumerate(result.events):
        if number == cut:
            segments.append(frame(state.snapshot()))
        segments[-1] += entry_frame(now_s, event, state.handle(event, now_s))
    return segments


def explained(
    scenario: Scenario, number: int, settings: ControlSettings = SETTINGS, **how: int
) -> Explanation:
    found = explain(journal(simulated(scenario, settings), settings, **how), RequestId(number))
    assert found is not None
    assert found.warnings == (), "looking on changes nothing"
    return found


def asks(*calls: tuple[float, str]) -> list[tuple[float, Event | Ask]]:
    return [(at_s, Ask(FunctionId(f"{name}.default"))) for at_s, name in calls]


def node(*devices: tuple[DeviceId, int]) -> tuple[float, Event | Ask]:
    specs = tuple(DeviceSpec(number, capacity_bytes) for number, capacity_bytes in devices)
    return 0.0, NodeJoined(NodeSpec("n", 10**12, 4, specs))


def what(found: Explanation) -> list[str]:
    return [decision.what for decision in found.decisions]


def test_a_cold_request_waits_for_its_load() -> None:
    found = explained([node((CARD, 1000)), (0.0, on_device("f")), *asks((5.0, "f"))], 1)
    assert (found.function, found.policy) == ("f.default", "scheduling finish-first")
    assert (found.arrived_s, found.outcome, found.latency_s) == (5.0, "answered", pytest.approx(1.1))
    assert what(found) == ["load", "wait", "send"]
    load, wait, send = found.decisions
    assert (load.place, load.prompted_by, load.at_s) == (CARD, "RequestArrived", 0.0)
    (place,) = load.places
    # Its environment has to come too, which nobody has measured yet.
    assert (place.state, place.free_s, place.ready_s) == ("could load", 0.0, pytest.approx(2.5))
    assert place.finish_s == pytest.approx(2.6)
    assert wait.places[0].state == "loading"
    assert (send.at_s, send.places[0].state) == (pytest.approx(1.0), "resident")
    words = [each.what for each in found.happenings]
    assert "the load of its model onto n/card0, as worker 1 from imported, began" in words
    assert "sent to worker 1 on n/card0" in words
    assert "worker 1 was done after 0.100 s of computing" in words


def test_what_is_evicted_is_worth_least_and_the_others_are_named() -> None:
    often = [(float(at_s), "often") for at_s in range(1, 30)]
    calls = asks(*often, (2.5, "once"), (30.0, "new"))
    scenario = [node((CARD, 1000)), *((0.0, on_device(name)) for name in ("often", "once", "new")), *calls]
    found = explained(scenario, 31)
    (eviction,) = found.evictions
    (gone,), (spared,) = eviction.evicted, eviction.spared
    assert (eviction.place, gone.function, spared.function) == (CARD, "once.default", "often.default")
    assert gone.score < spared.score
    assert gone.rate_per_s < spared.rate_per_s
    assert (gone.held_bytes, gone.copies) == (400, 1)
    assert found.decisions[0].places[0].evicts == ("once.default",)


def test_each_device_is_weighed_and_the_best_comes_first() -> None:
    scenario = [
        node((CARD, 500), (OTHER, 100)), (0.0, on_device("f")), (0.0, on_device("g")),
        *asks((1.0, "f"), (9.0, "g")),
    ]  # fmt: skip
    load = explained(scenario, 2).decisions[0]
    assert [place.place for place in load.places] == [CARD, OTHER]
    assert [place.state for place in load.places] == ["could load", "has no room"]
    assert load.places[1].finish_s is None


def test_a_refusal_is_told_in_its_words() -> None:
    found = explained([node((CARD, 100)), (0.0, on_device("f")), *asks((1.0, "f"))], 1)
    assert (found.outcome, found.latency_s, found.looks) == ("no_space", 0.0, 0)
    assert found.happenings[0].what.startswith("refused: f.default needs 0 MB of a device")


def test_a_device_that_is_lost_on_the_way_is_told() -> None:
    spec_of = DeviceSpec(OTHER, 1000)
    scenario = [
        node((CARD, 1000)), (0.0, on_device("f")), *asks((1.0, "f")),
        (1.5, DeviceJoined(NodeId("n"), spec_of)), (1.6, DeviceLost(CARD, "unplugged")),
    ]  # fmt: skip
    found = explained(scenario, 1)
    assert found.outcome == "answered"
    assert [each.place for each in found.decisions if each.what == "load"] == [CARD, OTHER]
    assert "device n/card0 was lost: unplugged" in [each.what for each in found.happenings]


def test_a_function_on_the_cores_climbs_or_waits() -> None:
    plain = Deployed(spec("p", max_workers=2), BundleFacts())
    found = explained([node(), (0.0, plain), *asks((1.0, "p"))], 1)
    assert found.policy == "dispatch finish-first"
    climb = next(each for each in found.decisions if each.what == "climb")
    assert climb.place == "a new worker"
    assert climb.places[0].place == "a new worker"
    assert any("sent to worker 1" in each.what for each in found.happenings)
    waits = explained([node(), (0.0, plain), *asks((1.0, "p"), (1.0, "p"))], 2)
    assert waits.outcome == "answered"
    assert waits.decisions[-1].what in ("run", "climb")
    assert {place.place for each in waits.decisions for place in each.places} >= {"a new worker"}


def test_a_function_on_the_cores_has_no_device_weighed_while_it_is_built() -> None:
    unbuilt = Deployed(spec("f"), None)
    calls = asks((0.1, "f"), (0.2, "g"), (0.3, "g"))
    found = explained([node((CARD, 1000)), (0.0, on_device("g")), (0.05, unbuilt), *calls], 1)
    assert {place.place for each in found.decisions for place in each.places} == {"a new worker"}
    words = [each.what for each in found.happenings]
    assert words[0] == "its function was not built yet"
    assert any(each.startswith("its function was built") for each in words)


def test_what_went_under_a_lease_and_what_never_came_is_unknown() -> None:
    plain = Deployed(spec("p"), BundleFacts())
    result = simulated([node(), (0.0, plain), *asks((1.0, "p"), (5.0, "p"))])
    assert [answer.leased for answer in result.answers] == [False, True]
    assert explain(journal(result), RequestId(2)) is None
    assert explain(journal(result), RequestId(3)) is None
    assert explain([], RequestId(1)) is None


def test_a_request_is_followed_into_the_next_segment() -> None:
    scenario = [node((CARD, 1000)), (0.0, on_device("f")), *asks((5.0, "f"))]
    events = [event for _, event in simulated(scenario).events]
    arrived = next(n for n, event in enumerate(events) if type(event).__name__ == "RequestArrived")
    whole = explained(scenario, 1)
    assert explained(scenario, 1, cut=arrived + 1) == whole
    assert explained(scenario, 1, cut=arrived) == whole


def test_what_another_server_did_later_is_not_what_became_of_a_request() -> None:
    town = [node((CARD, 1000)), (0.0, on_device("f"))]
    before, after = simulated([*town, *asks((5.0, "f"))]), simulated(town)
    while before.events[-1][0] > 5.5:
        before.events.pop()
    found = explain([*journal(before), *journal(after)], RequestId(1))
    assert found is not None
    assert (found.outcome, found.latency_s, found.warnings) == ("cut off", None, ())
    assert found.happenings[-1].what == "its server ended"


def test_what_another_version_decided_otherwise_is_warned_of() -> None:
    result = simulated([node((CARD, 1000)), (0.0, on_device("f")), *asks((5.0, "f"))])
    state = ControlState(SETTINGS)
    segment = frame(state.snapshot())
    for now_s, event in result.events:
        segment += entry_frame(now_s, event, state.handle(event, now_s)[:-1])
    found = explain([segment], RequestId(1))
    assert found is not None
    assert 0 < len(found.warnings) <= 5
    assert "led to other commands" in found.warnings[0]


def test_a_journal_that_ends_too_soon_leaves_a_request_under_way() -> None:
    result = simulated([node((CARD, 1000)), (0.0, on_device("f")), *asks((5.0, "f"))])
    result.events[:] = [entry for entry in result.events if entry[0] <= 5.5]
    found = explain(journal(result), RequestId(1))
    assert found is not None
    assert (found.outcome, found.latency_s) == ("under way", None)


def test_a_run_over_devices_with_faults_replays_to_the_same_commands() -> None:
    calls = [(1.0 + 0.07 * k, "fgh"[k * k % 3]) for k in range(300)]
    spec_of = DeviceSpec(CARD, 1000, context_bytes=50)
    scenario = [
        node((CARD, 1000), (OTHER, 500)), *((0.0, on_device(name, 400)) for name in "fgh"), *asks(*calls),
        (7.0, DeviceLost(CARD, "its memory is gone")), (7.5, DeviceJoined(NodeId("n"), spec_of)),
    ]  # fmt: skip
    result, report = simulated(scenario), ReplayReport()
    for number, segment in enumerate(journal(result, cut=200)):
        state = replay_segment(str(number), segment, report)
        assert state is not None
        state.validate()
    assert (report.events, report.commands) == (len(result.events), len(result.commands))
    assert report.mismatches == []


@settings(max_examples=examples(25), deadline=None)
@given(
    calls=st.lists(st.tuples(st.floats(1, 20), st.sampled_from("fghp")), min_size=5, max_size=60),
    policy=st.sampled_from(["finish-first", "lb"]),
    lost_s=st.floats(2, 20),
    picked=st.integers(0, 59),
)
def test_looking_on_changes_nothing_whatever_happens(
    calls: list[tuple[float, str]], policy: str, lost_s: float, picked: int
) -> None:
    how = ControlSettings(eager_stage=False, scheduling=policy)
    scenario = [
        node((CARD, 900), (OTHER, 500)), *((0.0, on_device(name)) for name in "fgh"),
        (0.0, Deployed(spec("p", max_workers=2), BundleFacts())), *asks(*calls),
        (lost_s, DeviceLost(CARD, "unplugged")),
        (lost_s + 1.0, DeviceJoined(NodeId("n"), DeviceSpec(CARD, 900))),
    ]  # fmt: skip
    result = simulated(scenario, how)
    answer = result.answers[picked % len(result.answers)]
    found = explain(journal(result, how), answer.request)
    assert (found is None) == answer.leased
    if found is not None:
        assert found.warnings == ()
        assert found.latency_s == pytest.approx(answer.latency_s)
        assert found.outcome == ("answered" if answer.code == "ok" else answer.code)
        assert found.decisions or found.happenings
        json.loads(msgspec.json.encode(found))
