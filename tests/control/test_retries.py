"""One timer for all that a function waits for: the nearest of them."""

from __future__ import annotations

from glowplug.core.events import TimerFired
from glowplug.core.ids import FunctionId
from tests.control.world import World, spec

F = FunctionId("f.default")
KEY = f"retry:{F}"


def test_who_wants_to_look_sooner_does_and_the_end_of_a_pause_is_not_missed() -> None:
    world = World()
    world.deploy(spec("f"))
    c, now_s = world.state.context, world.clock.now_s
    c.store.functions[F].retry_at_s = now_s + 10.0
    for after_s in (10.0, 1.0, 5.0):
        c.retry_by(F, now_s + after_s)
    assert c.store.timers[KEY] == now_s + 1.0
    world.clock.now_s += 1.0
    world.post(TimerFired(KEY))
    assert c.store.timers[KEY] == now_s + 10.0
