"""More work than there is room for, in virtual time: the controller's and the lease table's own code."""

from __future__ import annotations

import pytest

from glowplug.core.commands import Climb, Revoke
from glowplug.core.events import Deployed, Event, NodeJoined, RequestArrived
from glowplug.core.ids import EnvironmentId, FunctionId, VersionId
from glowplug.core.priority import Priority
from glowplug.core.specs import Declaration, FunctionSpec, NodeSpec
from glowplug.sim.gateway import Answer, Ask
from glowplug.sim.profile import Profile
from glowplug.sim.simulation import SimResult, Simulation

F = FunctionId("f.default")
WARM_S = 8.0


def load(
    run_s: float, times_capacity: float, lasts_s: float, *, low_share: float = 0.0, **declared: object
) -> tuple[Simulation, SimResult]:
    """A warm function is asked evenly, `low_share` of it in the background class."""
    declaration = Declaration(
        name="f", kind="model", module="m", qualname="M", **declared  # type: ignore[arg-type]
    )  # fmt: skip
    spec = FunctionSpec(F, VersionId("f-v1"), "default", EnvironmentId("e"), "u", declaration)
    simulation = Simulation({F: Profile(run_s=run_s)})
    scenario: list[tuple[float, Event | Ask]] = [
        (0.0, NodeJoined(NodeSpec("n", 4 * 10**9, 2))),
        (0.0, Deployed(spec)),
        *((5.0 + n * run_s * 1.5, Ask(F)) for n in range(20)),
    ]
    count = int(lasts_s * times_capacity / run_s)
    low = 0.0
    for number in range(count):
        low += low_share
        rank = Priority.BACKGROUND if low >= 1 else Priority.INTERACTIVE
        low -= low >= 1
        scenario.append((WARM_S + number * lasts_s / count, Ask(F, 30.0, rank)))
    return simulation, simulation.run(scenario, until_s=WARM_S + lasts_s)


def during(result: SimResult, from_s: float, to_s: float) -> list[Answer]:
    return [a for a in result.answers if from_s <= a.asked_s + a.latency_s < to_s]


@pytest.mark.parametrize(
    ("run_s", "lasts_s", "leased_share"), [(0.001, 4.0, 0.6), (0.02, 20.0, 0.0), (0.2, 60.0, 0.0)]
)
def test_five_times_too_much_costs_no_goodput(run_s: float, lasts_s: float, leased_share: float) -> None:
    simulation, result = load(run_s, 5.0, lasts_s)
    simulation.state.validate()
    settled = during(result, WARM_S + lasts_s / 4, WARM_S + lasts_s)
    served = [a for a in settled if a.code == "ok"]
    refused = [a for a in settled if a.code != "ok"]
    assert len(served) * run_s >= 0.9 * lasts_s * 3 / 4, "of what one worker can do"
    assert refused
    assert all(a.code == "queue_full" and a.latency_s == 0 for a in refused), "at once"
    assert sum(a.leased for a in served) >= leased_share * len(served)
    # A full queue, which beside a lease gets every fifth turn, and a full socket.
    assert max(a.latency_s for a in served) < (5 * 100 + 100) * run_s


def test_short_requests_stay_under_their_lease_whatever_comes() -> None:
    _, result = load(0.001, 3.0, 4.0)
    revoked = [c for at_s, c in result.commands if isinstance(c, Revoke) and at_s > WARM_S]
    assert not revoked


def test_when_the_crowd_has_gone_it_is_as_before() -> None:
    simulation, result = load(0.02, 5.0, 10.0)
    simulation.run((), until_s=simulation.agenda.now_s + 3.0)
    before = len(result.answers)
    now_s = simulation.agenda.now_s
    simulation.run([(now_s + n * 0.1, Ask(F)) for n in range(5)], until_s=now_s + 1.0)
    after = result.answers[before:]
    assert [a.leased for a in after] == [True] * 5
    assert all(a.latency_s == pytest.approx(0.02) for a in after)


def test_a_higher_class_hardly_notices_a_lower_one_of_its_own_function() -> None:
    run_s = 0.02
    simulation, result = load(run_s, 2.0, 20.0, low_share=0.9)
    answers = {a.request: a for a in result.answers}
    high: list[float] = []
    low = 0
    for _, event in result.events:
        if isinstance(event, RequestArrived) and event.priority and event.request in answers:
            answer = answers[event.request]
            if event.priority == Priority.INTERACTIVE and answer.asked_s > WARM_S:
                assert answer.code == "ok"
                high.append(answer.latency_s)
            low += event.priority == Priority.BACKGROUND and answer.code == "ok"
    assert len(high) > 100
    assert max(high) <= 5 * run_s, "what is in the socket already, and its own"
    assert low > 300, "and the lower one gets the rest"
    simulation.state.validate()


@pytest.mark.parametrize(
    ("declared", "most"), [({"max_workers": 2}, 1.95), ({"target_concurrency": 2}, 1.95)]
)
def test_more_at_once_serve_more(declared: dict[str, object], most: float) -> None:
    run_s = 0.05
    _, result = load(run_s, 3.0, 30.0, **declared)
    served = [a for a in during(result, WARM_S + 5, WARM_S + 30) if a.code == "ok"]
    assert len(served) * run_s / 25 == pytest.approx(most, abs=0.1)


def test_a_second_worker_climbs_only_when_the_wait_is_longer_than_its_climb() -> None:
    def climbs(run_s: float, at_once: int) -> int:
        """As many requests at the same time, again and again."""
        profile = Profile(run_s=run_s, imported_s=0.3, staged_s=0.1)
        declaration = Declaration(name="f", kind="model", module="m", qualname="M", max_workers=2)
        spec = FunctionSpec(F, VersionId("f-v1"), "default", EnvironmentId("e"), "u", declaration)
        simulation = Simulation({F: profile})
        asks = [(5.0, Ask(F)), *((10.0 + n, Ask(F)) for n in range(10) for _ in range(at_once))]
        first = [(0.0, NodeJoined(NodeSpec("n", 4 * 10**9, 2))), (0.0, Deployed(spec))]
        result = simulation.run([*first, *asks], until_s=30.0)
        assert all(a.code == "ok" for a in result.answers)
        return sum(isinstance(c, Climb) and c.target.kind == "instance" for _, c in result.commands)

    assert climbs(0.01, 5) == 1
    assert climbs(0.01, 30) == 2
