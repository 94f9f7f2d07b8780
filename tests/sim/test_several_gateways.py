"""Several gateways beside each other in virtual time: the controller's and the lease tables' own code."""

from __future__ import annotations

from collections import Counter

import pytest

from glowplug.core.commands import Lease, Revoke
from glowplug.core.events import Deployed, Event, NodeJoined
from glowplug.core.ids import EnvironmentId, FunctionId, GatewayId, VersionId
from glowplug.core.specs import Declaration, FunctionSpec, NodeSpec
from glowplug.sim.gateway import Ask
from glowplug.sim.profile import Profile
from glowplug.sim.simulation import SimResult, Simulation

F = FunctionId("f.default")
WARM_S, FROM_S, UNTIL_S = 5.0, 6.0, 8.0
SHORT_S = 0.0002


def load(workers: int, rates: list[float], run_s: float = SHORT_S) -> tuple[Simulation, SimResult]:
    """Workers that climbed at once are asked evenly from `WARM_S` on, at each gateway that often a second."""
    declaration = Declaration(
        name="f", kind="model", module="m", qualname="M", min_workers=workers, max_workers=workers,
        target_concurrency=4,
    )  # fmt: skip
    spec = FunctionSpec(F, VersionId("f-v1"), "default", EnvironmentId("e"), "u", declaration)
    scenario: list[tuple[float, Event | Ask]] = [
        (0.0, NodeJoined(NodeSpec("n", 8 * 10**9, 8))),
        (0.0, Deployed(spec)),
    ]
    for gateway, rate in enumerate(rates):
        count = int(rate * (UNTIL_S - WARM_S))
        scenario += [
            (WARM_S + (number + gateway / len(rates)) / rate, Ask(F, gateway=gateway))
            for number in range(count)
        ]
    simulation = Simulation({F: Profile(run_s=run_s)}, gateways=len(rates))
    return simulation, simulation.run(scenario, until_s=UNTIL_S + 1.0)


def leased_shares(result: SimResult, gateways: int) -> list[float]:
    """By gateway, of what was asked after the first second, and all of which was answered."""
    asked: Counter[int] = Counter()
    leased: Counter[int] = Counter()
    for answer in result.answers:
        assert answer.code == "ok"
        if answer.asked_s >= FROM_S:
            asked[answer.request % gateways] += 1
            leased[answer.request % gateways] += answer.leased
    return [leased[number] / asked[number] for number in range(gateways)]


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
@pytest.mark.parametrize("gateways", [2, 4])
def test_requests_are_under_leases_at_every_gateway(workers: int, gateways: int) -> None:
    simulation, result = load(workers, [1200.0] * gateways)
    simulation.state.validate()
    assert min(leased_shares(result, gateways)) > 0.99


def test_a_busy_gateway_beside_quiet_ones_has_what_it_needs() -> None:
    _, result = load(4, [4000.0, 20.0, 20.0, 20.0], 0.001)
    assert min(leased_shares(result, 4)) > 0.95
    late = [a.latency_s for a in result.answers if a.asked_s >= FROM_S]
    assert max(late) < 20 * 0.001, "of a worker's places a quarter is in use"


def test_leases_do_not_wander() -> None:
    _, result = load(8, [1000.0] * 4)
    settled = [command for at_s, command in result.commands if at_s >= FROM_S]
    assert not any(isinstance(command, Revoke) for command in settled)
    lent = {(c.gateway, c.instance) for _, c in result.commands if isinstance(c, Lease)}
    early = {(c.gateway, c.instance) for at_s, c in result.commands if isinstance(c, Lease) and at_s < FROM_S}
    assert lent == early
    assert {gateway for gateway, _ in lent} == {GatewayId("sim"), *(f"sim-{n}" for n in (1, 2, 3))}
