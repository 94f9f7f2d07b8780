"""When what waits will begin, and how much of the devices' time is taken."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.control.fleet.schedule import fleet_view
from glowplug.core.ids import FunctionId
from glowplug.policy.scheduling import FleetView
from glowplug.policy.scheduling.layout import Layout
from glowplug.policy.scheduling.working import Working
from tests.policy.scheduling.ground import Ground, Model, function_of

A, B = function_of("a"), function_of("b")


def idle(*asks: tuple[float, str], devices: int, room: int, **models: Model) -> FleetView:
    """Devices with what the requests brought there, and nothing to do."""
    ground = Ground("start-estimate", devices=devices, room=room, models=models)
    ground.play(*asks)
    return fleet_view(ground.simulation.state.context)


def test_requests_fill_the_devices_that_have_their_model() -> None:
    """`a` on both devices, `b` on one of them."""
    runs = Model(load_s=1.0, run_s=1.0)
    view = idle(*[(0.0, "a")] * 4, (90.0, "b"), devices=2, room=2, a=runs, b=Model(run_s=1.0))
    assert (len(view.where(A)), len(view.where(B))) == (2, 1)
    layout, (only,) = Layout(view), view.where(B)
    for begins_s in (0.0, 1.0):
        assert layout.begins_s(B) == begins_s
        layout.take(B)
    assert [layout.free_s(number) for number in view.where(A) if number != only] == [0.0]
    began = []
    for _ in range(4):
        began.append(layout.begins_s(A))
        layout.take(A)
    assert began == [0.0, 1.0, 2.0, 2.0], "the other device first, until both are taken as long"
    assert layout.begins_s(B) == 3.0


def test_what_lies_nowhere_never_begins_and_takes_nothing() -> None:
    view = idle((0.0, "a"), devices=1, room=1, a=Model(), b=Model())
    layout = Layout(view)
    assert layout.begins_s(B) == inf
    layout.take(B)
    assert layout.begins_s(A) == 0.0


@given(st.lists(st.sampled_from([A, B]), max_size=30))
def test_nobody_begins_before_who_came_before_him(functions: list[FunctionId]) -> None:
    """Of one function; and together they take what their runs take."""
    view = idle((0.0, "a"), (0.0, "b"), (9.0, "a"), devices=2, room=2, a=Model(run_s=0.5), b=Model())
    layout, last = Layout(view), {A: 0.0, B: 0.0}
    for function in functions:
        begins_s = layout.begins_s(function)
        assert begins_s >= last[function]
        last[function] = begins_s
        layout.take(function)
    taken_s = sum(layout.free_s(number) for number in view.devices)
    assert taken_s == pytest.approx(sum(0.5 if function == A else 1.0 for function in functions))


def test_the_share_that_works_is_of_late() -> None:
    working = Working()
    assert working.share == 0.0
    working.now(1.0)
    working.pass_until(10.0, 60.0)
    assert working.share == 0.98, "never all"
    working.now(0.5)
    working.pass_until(70.0, 60.0)
    assert 0.5 < working.share < 0.6
    working.pass_until(1000.0, 60.0)
    assert working.share == pytest.approx(0.5)
