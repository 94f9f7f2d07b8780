"""Weights in virtual time: reads that share a disk, and memory that is waited for."""

from __future__ import annotations

import msgspec
import pytest

from glowplug.core.commands import Target
from glowplug.core.events import Deployed, NodeJoined
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, NodeSpec
from glowplug.sim.agenda import Agenda
from glowplug.sim.disk import SharedDisk
from glowplug.sim.freed import GIVEN_BACK_S, FreedMemory
from glowplug.sim.gateway import Ask
from glowplug.sim.profile import Profile
from glowplug.sim.simulation import Simulation
from tests.control.world import spec

A, B, C = (Target("instance", "n", str(number)) for number in range(3))
MB = 10**6
FACTS = BundleFacts(weight_bytes=100 * MB, staged_bytes=10 * MB, parked_bytes=10 * MB, peak_bytes=10 * MB)
PROFILE = Profile(facts=FACTS, read_bytes_per_s=100.0 * MB, environment_s=1.0)


class Reads:
    """A disk, and when each of its readers was done."""

    def __init__(self) -> None:
        self.agenda = Agenda()
        self.disk = SharedDisk(self.agenda)
        self.done_s: dict[Target, float] = {}

    def begin(self, at_s: float, reader: Target, alone_s: float) -> None:
        def done() -> None:
            self.done_s[reader] = self.agenda.now_s

        self.agenda.at(at_s, lambda: self.disk.read(reader, alone_s, done))


def test_who_reads_alone_takes_what_it_takes() -> None:
    reads = Reads()
    reads.begin(1.0, A, 2.0)
    reads.begin(5.0, B, 0.5)
    reads.agenda.run(10.0)
    assert reads.done_s == pytest.approx({A: 3.0, B: 5.5})


def test_two_at_once_take_as_long_as_one_after_the_other() -> None:
    reads = Reads()
    reads.begin(0.0, A, 2.0)
    reads.begin(0.0, B, 2.0)
    reads.agenda.run(10.0)
    assert reads.done_s == pytest.approx({A: 4.0, B: 4.0})


def test_who_comes_later_slows_down_the_rest_of_a_read() -> None:
    """A has read half when B comes, and B half when A is done."""
    reads = Reads()
    reads.begin(0.0, A, 2.0)
    reads.begin(1.0, B, 2.0)
    reads.agenda.run(10.0)
    assert reads.done_s == pytest.approx({A: 3.0, B: 4.0})


def test_what_is_given_up_leaves_the_disk_to_the_others() -> None:
    reads = Reads()
    for reader in (A, B, C):
        reads.begin(0.0, reader, 2.0)
    reads.agenda.at(3.0, lambda: reads.disk.give_up(B))
    reads.agenda.at(3.0, lambda: reads.disk.give_up(B))
    reads.agenda.run(10.0)
    assert reads.done_s == pytest.approx({A: 5.0, C: 5.0})


@pytest.mark.parametrize(("shares", "slowest_s"), [(False, 1.1), (True, 2.1)])
def test_two_loads_at_once_share_their_node_s_disk(shares: bool, slowest_s: float) -> None:
    names = "fg"
    functions = [spec(name) for name in names]
    profiles = {each.function: PROFILE for each in functions}
    settings = ControlSettings(environment_estimate_bytes=0, eager_stage=False)
    simulation = Simulation(profiles, settings, shares_disks=shares)
    deployed = [(0.0, Deployed(each, FACTS)) for each in functions]
    asks = [(1.0, Ask(each.function)) for each in functions]
    node = 0.0, NodeJoined(NodeSpec("n", 2000 * MB, 2))
    answers = simulation.run([node, *deployed, *asks], until_s=60.0).answers
    assert [answer.code for answer in answers] == ["ok", "ok"]
    assert max(answer.latency_s for answer in answers) == pytest.approx(
        PROFILE.environment_s + slowest_s + PROFILE.run_s
    )
    assert simulation.loading_s == pytest.approx(2 * (1.0 + PROFILE.imported_s))


def test_who_needs_memory_waits_until_the_weights_there_are_gone() -> None:
    def waited_s(let_go_s: float) -> float:
        functions = [spec(name) for name in "fg"]
        profile = msgspec.structs.replace(PROFILE, let_go_s=let_go_s)
        settings = ControlSettings(environment_estimate_bytes=0, eager_stage=False)
        simulation = Simulation({each.function: profile for each in functions}, settings)
        deployed = [(0.0, Deployed(each, FACTS)) for each in functions]
        asks = [(1.0 + 20.0 * n, Ask(each.function)) for n, each in enumerate(functions)]
        node = 0.0, NodeJoined(NodeSpec("n", 500 * MB, 2))
        answers = simulation.run([node, *deployed, *asks], until_s=60.0).answers
        assert [answer.code for answer in answers] == ["ok", "ok"]
        return answers[1].latency_s

    assert waited_s(0.3) == pytest.approx(waited_s(0.0) + 0.3)


def test_what_was_let_go_just_now_is_taken_once_and_the_latest_first() -> None:
    memory = FreedMemory()
    memory.let_go("n", 1.0, 100)
    memory.let_go("n", 2.0, 50)
    memory.let_go("n", 9.0, 500)  # not yet
    memory.let_go("m", 2.0, 1000)
    assert memory.take("n", 2.5, 80) == 80
    assert memory.take("n", 2.5, 80) == 70
    assert memory.take("n", 2.5, 80) == 0
    assert memory.take("m", 2.0 + GIVEN_BACK_S, 10) == 0
    assert memory.take("n", 9.0, 10) == 10


@pytest.mark.parametrize("shares", [False, True])
def test_memory_that_nobody_had_for_a_while_takes_longer_to_fill(shares: bool) -> None:
    """The first two come to free memory, the third to what the first had until then, and the last one, which
    is twice as large, to as much of others' and to free memory."""
    facts = [msgspec.structs.replace(FACTS, weight_bytes=nbytes * MB) for nbytes in (100, 100, 100, 200)]
    functions = [spec(name) for name in "fghi"]
    settings = ControlSettings(environment_estimate_bytes=0, eager_stage=False)

    def waits_s(rested_bytes_per_s: float) -> list[float]:
        profiles = {
            each.function: msgspec.structs.replace(PROFILE, facts=mine, rested_bytes_per_s=rested_bytes_per_s)
            for each, mine in zip(functions, facts, strict=True)
        }
        simulation = Simulation(profiles, settings, shares_disks=shares)
        deployed = [(0.0, Deployed(each, mine)) for each, mine in zip(functions, facts, strict=True)]
        asks = [(10.0 + 20.0 * n, Ask(each.function)) for n, each in enumerate(functions)]
        node = 0.0, NodeJoined(NodeSpec("n", 600 * MB, 2))
        return [a.latency_s for a in simulation.run([node, *deployed, *asks], until_s=120.0).answers]

    found = zip(waits_s(10.0 * MB), waits_s(0.0), strict=True)
    assert [rested_s - now_s for rested_s, now_s in found] == pytest.approx([9.0, 9.0, 0.0, 0.0])
