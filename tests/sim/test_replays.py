"""Replays: what a policy that knows the trace reaches, and what a share of a core allows."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from glowplug.control.state import ControlState
from glowplug.core.ids import FunctionId
from glowplug.core.settings import ControlSettings
from glowplug.sim import replays
from glowplug.sim.footprints import PUBLISHED
from glowplug.sim.oracle import Oracle
from glowplug.sim.replays import Cluster, Replayed, System, least_node_bytes, replay
from glowplug.sim.standing import HELD_ON
from glowplug.sim.systems import Substrate, system_of
from glowplug.sim.workloads.registry import make_trace
from glowplug.sim.workloads.trace import trace_of

TRACE = make_trace("zipf:functions=12,rate_per_min=20,minutes=40", 5)
SCARCE = Cluster(nodes=2, memory_share=0.6)
F = FunctionId("f.default")


def played(system: System) -> Replayed:
    return replay(TRACE, system, SCARCE, seed=5)


def test_a_long_trace_is_looked_at_less_often() -> None:
    def found(days: int) -> Replayed:
        times_s = np.array([0.0, days * 86_400.0 - 1.0])
        trace = trace_of(times_s, np.array([0, 0]), ["f"], days * 86_400.0)
        return replay(trace, System("fixed"), Cluster(nodes=1, memory_share=2.0))

    day, year = found(1), found(365)
    assert day.memory_s.tolist() == [10.0 * n for n in range(8641)]
    assert len(year.memory_s) == len(year.steps) == 10_000
    assert year.memory_s[-1] == pytest.approx(365 * 86_400.0, abs=1.0)
    assert (day.failed, year.failed) == (0, 0)


def test_who_knows_the_trace_waits_least() -> None:
    waits_s = {
        name: float(played(system_of(name, "process")).waits_s.mean())
        for name in ("clairvoyant", "ladder", "fixed")
    }
    assert waits_s["clairvoyant"] < 0.5 * waits_s["ladder"]
    assert waits_s["ladder"] < waits_s["fixed"]


def test_a_share_of_a_core_bounds_climbs_ahead() -> None:
    ladder = system_of("ladder", "process")
    free, held = played(ladder), played(msgspec.structs.replace(ladder, cpu_share=0.01))
    assert 0 < held.cpu_s < free.cpu_s
    longest_s = 3.0
    assert held.cpu_s <= SCARCE.nodes * (0.01 * (TRACE.span_s + 60) + longest_s)
    assert held.loading_s >= held.cpu_s


def test_an_oracle_is_certain_of_the_next_call_and_ranks_the_others() -> None:
    oracle = Oracle(calls_s={F: [10.0, 100.0]})
    oracle.observe(F, 10.0)
    assert oracle.quantiles(F, 0.0)(0.5) == pytest.approx(90.0)
    assert oracle.needed(F, 95.0, 0.0, 6.0) == 1.0
    assert oracle.needed(F, 20.0, 0.0, 6.0) < oracle.needed(F, 90.0, 0.0, 6.0) < 0.01
    assert oracle.needed(F, 200.0, 0.0, 6.0) == 0.0


def test_a_clairvoyant_controller_is_restored_from_its_snapshot() -> None:
    state = ControlState(ControlSettings(preload="clairvoyant", eviction="ladder"))
    assert ControlState.from_snapshot(state.snapshot()).snapshot() == state.snapshot()


def test_what_was_kept_is_told_from_what_was_loaded_ahead() -> None:
    ample = Cluster(nodes=1, memory_share=3.0, keep_warm_s=1e6)
    fixed = replay(TRACE, System("fixed"), ample, seed=5)
    assert fixed.kept is not None
    assert 0.8 * TRACE.requests < fixed.kept < TRACE.requests
    published = System("tyche", preload="tyche", helpers=False, keeps_loaded=False, limit_bytes=2 * 10**9)
    found = replay(TRACE, published, ample, seed=5)
    assert found.kept == 0
    assert 0 < found.preloaded_late < found.preloaded < TRACE.requests


def test_a_call_that_nobody_answers_in_time_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of a moment wait in one line: an hour after the last some are not answered yet."""
    monkeypatch.setattr(replays, "_AFTER_S", 1.0)
    trace = make_trace("zipf:functions=12,rate_per_min=600,minutes=1", 5)
    found = replay(trace, System("fixed"), Cluster(nodes=1, memory_share=0.2), seed=5)
    assert 0 < len(found.waits_s) < trace.requests
    assert found.failed == trace.requests - len(found.waits_s)


def test_a_model_that_had_to_go_for_a_guest_is_loaded_again() -> None:
    """The same sandboxes, of their models' sizes: with leave to displace there are pre-loads, and some calls
    find their sandbox and no model in it."""
    system = System("tyche", "kept", "tyche", "greedy-dual")
    kept = replay(TRACE, system, SCARCE, seed=5)
    yielding = replay(TRACE, msgspec.structs.replace(system, displaces=True), SCARCE, seed=5)
    assert kept.preloaded == 0 < yielding.preloaded
    assert yielding.failed == 0
    assert yielding.loading_s > yielding.cpu_s > 0.0


def test_shared_weights_are_held_once() -> None:
    """Twelve functions of eight models, with memory for all of them."""
    ladder = system_of("ladder", "zygote")
    ample = Cluster(nodes=1, memory_share=2.0)
    own, shared = (replay(TRACE, ladder, ample, seed=5, shares_weights=given) for given in (False, True))
    (local,) = (n for n, place in enumerate(HELD_ON) if place == "local")
    of_each = [PUBLISHED[number % len(PUBLISHED)].weight_bytes for number in range(TRACE.functions)]
    assert own.held_bytes[-1, local] == sum(of_each)
    assert shared.held_bytes[-1, local] == sum(of_each[: len(PUBLISHED)])
    assert shared.loading_s < own.loading_s
    assert (own.failed, shared.failed) == (0, 0)


@pytest.mark.parametrize("substrate", ["zygote", "process"])
@pytest.mark.parametrize("name", ["fixed", "tyche", "ladder"])
def test_a_node_of_the_least_bytes_holds_each_function_and_a_smaller_one_does_not(
    name: str, substrate: Substrate
) -> None:
    trace, model = make_trace("timers:functions=1,rate_per_min=2,minutes=2"), PUBLISHED[4]
    system = system_of(name, substrate)
    least_bytes = least_node_bytes(trace, [system], (model,))

    def failed(node_bytes: int) -> int:
        cluster = Cluster(nodes=1, memory_share=(node_bytes + 0.5) / model.loaded_bytes)
        assert cluster.node_bytes((model,), 1) == node_bytes
        return replay(trace, system, cluster, models=(model,)).failed

    assert failed(least_bytes) == 0
    assert failed(least_bytes - 1) == trace.requests


def test_answers_that_waited_are_counted() -> None:
    found = played(system_of("fixed", "zygote"))
    assert 0 < found.waited < len(found.waits_s)
    assert found.waited == int((found.waits_s > 1e-3).sum())
