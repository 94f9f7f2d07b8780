"""What goes on for long, comes late, early or not at all: for machines that have a `world`."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from glowplug.core.commands import Climb, Descend, Target
from glowplug.core.events import CommandFailed, HeldChanged, TimerFired
from glowplug.core.ids import InstanceId
from tests.control.world import World

_ENOUGH = 400
"""Outcomes in a row, in no time: as many as all functions need to give up, and far from without end."""


class Mishaps:
    world: World
    exact: bool

    @rule(dies=st.booleans())
    def nothing_works(self, dies: bool) -> None:
        """All that climbs fails, or is there and dies, but for environments: the next attempts are to come
        later."""
        engine = self.world.engine
        for _ in range(_ENOUGH):
            if not engine.pending:
                return
            number, command = next(iter(engine.pending.items()))
            if isinstance(command, Climb) and not dies:
                engine.fail(number)
            else:
                engine.succeed(number)
                of_its_own = isinstance(command, Climb) and command.target.kind != "environment"
                if of_its_own and command.target in engine.up:
                    engine.exit(command.target)
        tried = {repr(c.target) for c in self.world.commands[-50:] if isinstance(c, Climb)}
        raise AssertionError(f"the same is tried again and again: {sorted(tried)}")

    @rule(seconds=st.sampled_from([0.5, 20.0, 3600.0]))
    def hang(self, seconds: float) -> None:
        """Nothing was read and no timer fired meanwhile; they do when time goes on."""
        self.world.clock.now_s += seconds

    @rule(data=st.data())
    def fire_early(self, data: st.DataObject) -> None:
        """By as much as one clock may be behind another."""
        if self.world.timers:
            key = data.draw(st.sampled_from(sorted(self.world.timers)))
            self.world.clock.now_s = max(self.world.clock.now_s, self.world.timers.pop(key) - 0.0009)
            self.world.post(TimerFired(key))

    @rule(data=st.data())
    def fire_in_vain(self, data: st.DataObject) -> None:
        """It was set again, or cleared, when it fired."""
        fired = {event.key for _, event in self.world.events[-200:] if isinstance(event, TimerFired)}
        keys = sorted(
            fired | {key for key, at_s in self.world.timers.items() if at_s > self.world.clock.now_s + 1.0}
        )
        if keys:
            key = data.draw(st.sampled_from(keys))
            if self.world.timers.get(key, self.world.clock.now_s + 1.0) > self.world.clock.now_s + 0.1:
                self.world.post(TimerFired(key))

    @rule(data=st.data())
    def fail_to_descend(self, data: st.DataObject) -> None:
        descents = [c for c in self.world.engine.pending.values() if isinstance(c, Descend)]
        if descents:
            command = data.draw(st.sampled_from(descents))
            del self.world.engine.pending[command.id]
            self.world.post(CommandFailed(command.id, command.target, "unavailable", "it does not go"))

    @rule(data=st.data(), held_bytes=st.integers(-1, 1200))
    def measure_anything(self, data: st.DataObject, held_bytes: int) -> None:
        """What still climbs, descends already, or is gone."""
        holdings = self.world.state.context.store.holdings.values()
        known = [Target("instance", "here", str(InstanceId(999_999))), *(each.target for each in holdings)]
        self.exact = False
        self.world.post(HeldChanged(data.draw(st.sampled_from(known)), held_bytes))
