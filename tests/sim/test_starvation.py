"""Nobody waits without end on devices, whatever others ask for."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from glowplug.core.events import Deployed
from glowplug.core.priority import PASSED_OVER, Priority
from glowplug.core.specs import FunctionSpec
from glowplug.sim.fleets import NEVER_S, FleetSettings, build
from glowplug.sim.gateway import Ask
from glowplug.sim.models import ModelProfile

DEVICE_BYTES = 8 * 10**9
RUN_S, LOAD_S = 0.5, 1.0


def test_a_lower_class_has_a_turn_in_so_many() -> None:
    """For two minutes the first function is asked for twice what the device can do; three requests of a lower
    class come, the second one its own. Both models lie there."""
    model = ModelProfile("m", DEVICE_BYTES // 2, load_s=LOAD_S, run_s=RUN_S)
    fleet = build(FleetSettings(devices=1), [model], 2)
    busy, other = fleet.functions
    high = [(n / 4, Ask(busy, NEVER_S, Priority.INTERACTIVE)) for n in range(480)]
    low = [(1.1 + n, Ask(each, NEVER_S, Priority.BACKGROUND)) for n, each in enumerate((other, busy, other))]
    fleet.simulation.run([*fleet.opening, *high, *low], NEVER_S)
    fleet.simulation.state.validate()
    answers = fleet.simulation.run((), 0.0).answers
    assert len(answers) == len(high) + len(low)
    waits_s = {answer.asked_s: answer.latency_s for answer in answers}
    turn_s = (PASSED_OVER[Priority.BACKGROUND] + 1) * RUN_S
    for place, (asked_s, _) in enumerate(low, start=1):
        assert place * turn_s / 2 < waits_s[asked_s] <= place * turn_s + 2 * LOAD_S


@pytest.mark.parametrize("rank", [Priority.INTERACTIVE, Priority.BACKGROUND])
@pytest.mark.parametrize("devices", [1, 3])
def test_who_lies_nowhere_gets_a_device_though_all_are_always_at_work(devices: int, rank: Priority) -> None:
    """Each device has room for one model, and one that is asked for twice as much as it can do."""
    model = ModelProfile("m", DEVICE_BYTES, load_s=LOAD_S, run_s=RUN_S)
    fleet = build(FleetSettings(devices=devices), [model], devices + 1)
    *busy, other = fleet.functions
    high = [(n / 4, Ask(each, NEVER_S, Priority.INTERACTIVE)) for n in range(480) for each in busy]
    fleet.simulation.run([*fleet.opening, *high, (1.1, Ask(other, NEVER_S, rank))], NEVER_S)
    fleet.simulation.state.validate()
    answers = fleet.simulation.run((), 0.0).answers
    assert len(answers) == len(high) + 1
    (waited_s,) = (answer.latency_s for answer in answers if answer.function == other)
    turns_s = PASSED_OVER[rank] * RUN_S
    assert waited_s <= turns_s + 8 * LOAD_S
    assert sum(answer.latency_s for answer in answers) / len(answers) > 50, "the others wait as well"


def test_namespaces_share_alike_whatever_their_functions_ask_for() -> None:
    """Three functions of one and one of another, on a device that has all: each asks for all of its time."""
    model = ModelProfile("m", DEVICE_BYTES // 4, load_s=LOAD_S, run_s=RUN_S)
    fleet = build(FleetSettings(devices=1), [model], 4)
    opening = [
        (at_s, msgspec.structs.replace(event, spec=moved(event.spec, "crowd" if n < 4 else "alone")))
        if isinstance(event, Deployed) else (at_s, event)
        for n, (at_s, event) in enumerate(fleet.opening)
    ]  # fmt: skip
    asks = [(10 + n / 2, Ask(each, NEVER_S)) for n in range(120) for each in fleet.functions]
    fleet.simulation.run([*opening, *asks], 70.0)
    fleet.simulation.state.validate()
    done = Counter(answer.function for answer in fleet.simulation.run((), 0.0).answers)
    *crowd, alone = (done[each] for each in fleet.functions)
    assert alone == pytest.approx(sum(crowd), rel=0.25)
    assert min(crowd) >= 0.7 * max(crowd)


@pytest.mark.parametrize(
    ("hot_every_s", "others_every_s", "is_greedy"), [(1.0, 2.0, False), (0.7, 4.5, True)]
)
def test_who_asks_for_most_waits_no_longer_than_all_unless_it_asks_for_more_than_all_others(
    hot_every_s: float, others_every_s: float, is_greedy: bool
) -> None:
    """Four functions on a device that has all, for five minutes: more is asked of it than it can do."""
    model = ModelProfile("m", DEVICE_BYTES // 4, load_s=LOAD_S, run_s=RUN_S)
    fleet = build(FleetSettings(devices=1), [model], 4)
    hot, *others = fleet.functions
    every_s = {hot: hot_every_s} | dict.fromkeys(others, others_every_s)
    asks = [
        (10 + n * gap_s, Ask(each, NEVER_S))
        for each, gap_s in every_s.items()
        for n in range(int(300 / gap_s))
    ]
    fleet.simulation.run([*fleet.opening, *sorted(asks, key=lambda ask: ask[0])], NEVER_S)
    fleet.simulation.state.validate()
    worst_s = dict.fromkeys(fleet.functions, 0.0)
    for answer in fleet.simulation.run((), 0.0).answers:
        worst_s[answer.function] = max(worst_s[answer.function], answer.latency_s)
    others_s = max(worst_s[each] for each in others)
    first_come_s = len(asks) * RUN_S - 300
    if is_greedy:
        assert others_s < 10 < first_come_s < worst_s[hot]
    else:
        assert worst_s[hot] < first_come_s + 4 * LOAD_S


def moved(spec: FunctionSpec, namespace: str) -> FunctionSpec:
    """As it is, but in another namespace."""
    declaration = msgspec.structs.replace(spec.declaration, namespace=namespace)
    return msgspec.structs.replace(spec, namespace=namespace, declaration=declaration)
