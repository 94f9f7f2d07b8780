"""Faults as users write them: what is understood, what is refused, and what is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from glowplug.core.commands import Reject
from glowplug.core.errors import InvalidArguments
from glowplug.core.events import DeviceJoined
from glowplug.core.ids import NodeId
from glowplug.sim.faults import Disappears, LoadsFail, LosesMemory, Slows
from glowplug.sim.fleets import FleetSettings, build, nodes_of
from glowplug.sim.models import read_models
from glowplug.sim.outcomes import play
from glowplug.sim.planned_faults import Strike, parse_fault, scenario, strikes
from glowplug.sim.workloads.registry import make_trace
from tests.sim.test_fleets import validated

NODES = nodes_of(FleetSettings(devices=3, nodes=2))


def struck(*texts: str, seed: int = 0, devices: int = 3) -> list[Strike]:
    nodes = nodes_of(FleetSettings(devices=devices, nodes=min(2, devices)))
    return strikes([parse_fault(text) for text in texts], nodes, 300.0, seed)


def test_every_harm_is_played_by_what_the_simulation_knows() -> None:
    found = struck(
        "slow:2@20s,factor=4,for=1m", "loads:n1/gpu0@10s,count=3", "memory:0@30s", "gone:1@2m,for=1m"
    )
    assert [each.told for each in found] == [
        "n1/gpu0: 3 loads fail at 10 s",
        "n0/gpu1: takes 4 times as long from 20 s to 80 s",
        "n0/gpu0: loses its memory at 30 s",
        "n1/gpu0: is gone from 120 s to 180 s",
    ]
    first, second = NODES[0].devices, NODES[1].devices
    assert list(scenario(found, NODES)) == [
        (10.0, LoadsFail(second[0].device, 3)),
        (20.0, Slows(first[1].device, 4.0)),
        (80.0, Slows(first[1].device, 1.0)),
        (30.0, LosesMemory(NodeId("n0"), first[0])),
        (120.0, Disappears(second[0].device)),
        (180.0, DeviceJoined(NodeId("n1"), second[0])),
    ]


def test_without_a_number_it_is_what_the_drill_does_live() -> None:
    slow, loads = struck("slow:0@1s", "loads:0@2s")
    assert (slow.factor, slow.until_s, loads.count) == (10.0, None, 1)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["slow:0"], "'slow:0' is no fault; write HARM:DEVICE@TIME"),
        (["broken:0@60s"], "'broken' is nothing that can happen; there are loads, memory, slow, gone"),
        (["slow:0@soon"], "'soon' is not a duration"),
        (["slow:0@1s,count=3"], "no option 'count=3'; options are factor=, for="),
        (["memory:0@1s,for=3s"], "no option 'for=3s'; options are none"),
        (["loads:0@1s,count"], "no option 'count'; options are count="),
        (["loads:0@1s,count=0"], "Expected `int` >= 1 - at `count`"),
        (["slow:0@1s,factor=-1"], "Expected `float` > 0.0 - at `factor`"),
        (["slow:0@1s,factor=nan"], "at `factor`"),
        (["slow:0@1s,factor=inf"], "at `factor`"),
        (["gone:0@1s,for=0s"], "for is more than 0"),
        (["gone:3@1s"], "devices are 0 to 2, or n0/gpu0 to n0/gpu1, or any"),
        (["gone:gpu0@1s"], "devices are 0 to 2"),
        (["gone:0@5m"], "the workload ends at 300 s"),
        (["gone:0@1s", "memory:0@2s"], "'memory:0@2s': n0/gpu0: is gone from 1 s on"),
        (["memory:0@2s", "gone:0@1s"], "'gone:0@1s': n0/gpu0: loses its memory at 2 s"),
        (["slow:0@1s,for=9s", "slow:0@10s"], "n0/gpu0: takes 10 times as long from 1 s to 10 s"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_line(texts: Sequence[str], words: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        struck(*texts)
    assert caught.value.message.startswith("--fault: ")
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_what_is_drawn_is_drawn_by_the_seed_and_one_more_changes_none() -> None:
    found = struck("gone:any@any,for=1s", "memory:any@any", seed=3)
    assert found == struck("gone:any@any,for=1s", "memory:any@any", seed=3)
    assert all(0 <= each.at_s < 300 for each in found)
    assert struck("gone:any@any,for=1s", seed=3) == [each for each in found if each.harm == "gone"]
    drawn = {(each.device, each.at_s) for seed in range(20) for each in struck("memory:any@any", seed=seed)}
    assert len({at_s for _, at_s in drawn}) == 20
    assert len({device for device, _ in drawn}) == 3


def test_one_for_any_device_stays_clear_of_those_that_are_named() -> None:
    for seed in range(10):
        found = struck("gone:any@1s", "memory:0@2s", "slow:1@3s", seed=seed)
        assert [each.device for each in found if each.harm == "gone"] == ["n0/gpu1"]


def test_one_more_changes_only_what_it_comes_in_the_way_of() -> None:
    for seed in range(20):
        (alone,) = struck("gone:any@1s", seed=seed)
        for device in range(3):
            gone, named = struck("gone:any@1s", f"memory:{device}@2s", seed=seed)
            assert gone == alone or named.device == alone.device != gone.device


@pytest.mark.parametrize("scheduling", ["finish-first", "lalb-o3", "start-estimate"])
@pytest.mark.parametrize("seed", range(3))
def test_whatever_fails_whenever_no_request_is_lost(scheduling: str, seed: int) -> None:
    settings = FleetSettings(devices=3, nodes=2, loader="ours", scheduling=scheduling)
    trace = make_trace("zipf:functions=8,rate_per_min=90,minutes=1", seed)
    texts = ("gone:any@any,for=9s", "gone:any@any", "memory:any@any", "slow:any@any", "loads:any@any,count=2")
    found = strikes([parse_fault(text) for text in texts], nodes_of(settings), trace.span_s, seed)
    fleet = build(settings, read_models(), trace.functions, seed=seed, strikes=found)
    commands = validated(fleet)
    outcome = play(fleet, trace)
    assert outcome.answered + sum(outcome.refused.values()) == trace.requests
    assert set(outcome.refused) <= {"worker_died", "unavailable"}
    assert all(command.message for command in commands if isinstance(command, Reject))


def test_any_device_is_one_that_is_there() -> None:
    for seed in range(10):
        found = struck("gone:any@1s", "gone:any@2s", "gone:any@3s", "memory:any@4s", seed=seed)
        assert len({each.device for each in found}) == 3, "the last finds none"
