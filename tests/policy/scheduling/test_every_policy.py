"""What must hold whichever policy decides, whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glowplug.policy.registry import POLICIES
from tests.depth import examples
from tests.policy.scheduling.ground import Ground, Model

NAMES = "abcde"

models = st.builds(
    Model,
    load_s=st.sampled_from([0.0, 0.5, 3.0]),
    run_s=st.sampled_from([0.0, 0.1, 1.0]),
    size_bytes=st.sampled_from([300, 500, 1000, 1900]),
    max_workers=st.sampled_from([1, 2, 99]),
)
asks = st.lists(
    st.tuples(st.sampled_from([1.0, 1.0, 1.1, 2.0, 4.0, 4.5, 9.0]), st.sampled_from(NAMES)), max_size=40
)


@pytest.mark.parametrize("policy", POLICIES["scheduling"])
@settings(
    max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    models=st.lists(models, min_size=len(NAMES), max_size=len(NAMES)),
    capacities=st.lists(st.sampled_from([1000, 2000, 3000]), max_size=3),
    asks=asks,
    eviction=st.sampled_from(list(POLICIES["eviction"])),
)
def test_all_is_answered_and_nothing_exceeds_its_device(
    policy: str, models: list[Model], capacities: list[int], asks: list[tuple[float, str]], eviction: str
) -> None:
    """The state is checked after every event, the bytes on each device among it; one device fits all."""
    ground = Ground(
        policy,
        capacities=(2000, *capacities),
        models=dict(zip(NAMES, models, strict=True)),
        eviction=eviction,
    )
    ground.play(*asks)
    assert len(ground.answers) == len(asks)
    tally = ground.tally
    assert tally.requests == len(asks)
    assert 0 <= tally.false_misses <= tally.misses <= tally.requests
    assert tally.copies <= tally.loads
    assert tally.compute_s == pytest.approx(sum(ground.models[name].run_s for _, name in asks))


@pytest.mark.parametrize("policy", POLICIES["scheduling"])
def test_the_same_comes_of_a_restored_snapshot(policy: str) -> None:
    from glowplug.control.state import ControlState

    ground = Ground(policy, devices=2, room=2, models={name: Model() for name in "abc"})
    ground.play(*[(1.0 + n / 4, "abcab"[n % 5]) for n in range(40)])
    state = ground.simulation.state
    again = ControlState.from_snapshot(state.snapshot())
    again.validate()
    assert again.snapshot() == state.snapshot()
