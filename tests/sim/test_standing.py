"""On which step functions stand in a replay: told alike by a controller's records and by a server."""

from __future__ import annotations

import numpy as np

from glowplug.control.status import function_statuses, node_statuses
from glowplug.core.ladder import Step
from glowplug.sim.replays import Cluster, replay
from glowplug.sim.simulation import Simulation
from glowplug.sim.standing import HELD_ON, Standing
from glowplug.sim.systems import system_of
from glowplug.sim.workloads.registry import make_trace

TRACE = make_trace("zipf:functions=12,rate_per_min=20,minutes=20", 5)
SCARCE = Cluster(nodes=2, memory_share=0.2)


def test_all_that_is_held_is_on_some_step() -> None:
    found = replay(TRACE, system_of("ladder", "zygote"), SCARCE, seed=5)
    assert found.steps.shape == (len(found.memory_s), TRACE.functions)
    assert np.array_equal(found.held_bytes.sum(axis=1), found.memory_bytes)
    parked = (found.steps >= Step.PARKED).sum(axis=1)
    assert parked.min() < parked.max()
    assert set(np.unique(found.steps).tolist()) >= {Step.IMPORTED, Step.STAGED, Step.PARKED}
    assert found.held_bytes[:, HELD_ON.index("staged")].max() > 0


def test_who_loads_ahead_has_more_of_them_parked() -> None:
    ample = Cluster(nodes=1, memory_share=1.0, keep_warm_s=5.0)
    shares = {
        name: float((replay(TRACE, system_of(name, "process"), ample, seed=5).steps >= Step.PARKED).mean())
        for name in ("fixed", "ladder")
    }
    assert shares["ladder"] > 1.5 * shares["fixed"]


def test_a_server_tells_the_same() -> None:
    both: list[tuple[Standing, Standing]] = []

    def watch(simulation: Simulation) -> None:
        state, asked, told = simulation.state, Standing(), Standing()
        both.append((asked, told))

        def look() -> None:
            functions = function_statuses(state)
            asked.look(state, state.functions)
            told.told(functions, sum(node.environment_bytes for node in node_statuses(state)))
            simulation.agenda.at(simulation.agenda.now_s + 7.3, look)

        look()

    replay(TRACE, system_of("ladder", "zygote"), SCARCE, seed=5, prepare=watch)
    ((asked, told),) = both
    assert len(asked.steps) > 100
    assert asked.steps == told.steps
    assert asked.held_bytes == told.held_bytes
