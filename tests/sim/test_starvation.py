"""Nobody waits without end on devices, whatever others ask for."""

from __future__ import annotations

from glowplug.core.priority import PASSED_OVER, Priority
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
