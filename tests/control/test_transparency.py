"""Published policies leave the host's sandboxes alone: one recorded journal, handled with and without them.

No call of the recording meets a guest: what a guest answers spares the host a climb, and then other things
happen to the host. So guests are loaded, wait, and are killed when their sandbox is used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec
import pytest

from glowplug.control.journal import commands_crc, entry_frame, frame, read_segment
from glowplug.control.state import ControlState
from glowplug.core.commands import ClearTimer, Climb, Command, Descend, Dispatch, SetTimer, Target
from glowplug.core.events import (
    CommandFailed,
    Event,
    HeldChanged,
    InstanceExited,
    RequestDone,
    RequestStarted,
    StepLost,
    StepReached,
    TimerFired,
)
from glowplug.core.ids import CommandId, InstanceId
from glowplug.core.rng import rng_for
from glowplug.core.settings import ControlSettings
from tests.control.ahead import LARGE, settings
from tests.control.world import World, spec

CALLS = 150
RARE = ("rare-0", "rare-1", "rare-2")
KEPT_S = 5.0


def settings_of(preload: str) -> ControlSettings:
    return settings(preload, preload_cpu_share=4.0)


def recorded_journal() -> bytes:
    """A large sandbox that is used often, and functions whose own have no room, are called while it is busy
    and have mostly expired by then. Some sandboxes crash."""
    world, rng = World(settings_of("none")), rng_for(6, 3)
    world.deploy(spec("host", **LARGE), *(spec(name, memory_bytes=90, keep_warm_s=KEPT_S) for name in RARE))
    for number in range(CALLS):
        world.advance(rng.expovariate(1.0 / (2.0 * KEPT_S)))
        running, request = world.ask("host"), world.ask(RARE[number % len(RARE)])
        world.engine.answer_all()
        world.gateway.finish(request)
        world.gateway.finish(running)
        if rng.random() < 0.1:
            world.engine.exit(rng.choice(sorted(_instances(world), key=lambda each: int(each.key))))
            world.engine.answer_all()
    state = ControlState(settings_of("none"))
    segment = frame(state.snapshot())
    return segment + b"".join(
        entry_frame(now_s, event, state.handle(event, now_s)) for now_s, event in world.events
    )


def _instances(world: World) -> list[Target]:
    return [target for target in world.engine.up if target.kind == "instance"]


class Beside:
    """A controller with guests, to which a recording's events are told in its own numbers, of which guests
    take some. What becomes of guests is not recorded; here they climb and go at once."""

    def __init__(self, preload: str) -> None:
        self.state = ControlState(settings_of(preload))
        self._instances: dict[str, str] = {}
        self._commands: dict[CommandId, CommandId] = {}
        self._guests: set[str] = set()
        self._timers: dict[str, float] = {}

    def handle(self, event: Event, now_s: float, recorded: list[Command]) -> None:
        """Fails where another sandbox is sent another way than in the recording."""
        for at_s, timer in self._due(now_s):
            assert not self._told(timer, at_s), f"sandboxes moved by themselves for {timer.key}"
        hosts = self._told(self._renumbered(event), now_s)
        expected = [command for command in recorded if isinstance(command, (Climb, Descend, Dispatch))]
        for command, theirs in zip(hosts, expected, strict=True):
            if isinstance(theirs, Climb) and isinstance(command, Climb):
                self._instances.setdefault(theirs.target.key, command.target.key)
            self._commands[theirs.id] = command.id
            assert self._ours(theirs) == command

    def _told(self, event: Event, now_s: float) -> list[Command]:
        """What it orders of sandboxes, until all guests have done what they were told."""
        events: deque[Event] = deque([event])
        hosts: list[Command] = []
        while events:
            commands = self.state.handle(events.popleft(), now_s)
            self.state.validate()
            for command in commands:
                self._keep_time(command)
                outcome = self._outcome(command)
                if outcome is not None:
                    events.append(outcome)
                elif isinstance(command, (Climb, Descend, Dispatch)):
                    hosts.append(command)
        return hosts

    def _outcome(self, command: Command) -> Event | None:
        """Of what a guest was told, None when it is a sandbox's."""
        if not isinstance(command, (Climb, Descend)) or command.target.kind != "instance":
            return None
        target = command.target
        instance = self.state.context.store.instances.get(InstanceId(int(target.key)))
        if instance is not None and instance.host is not None:
            self._guests.add(target.key)
        if target.key not in self._guests:
            return None
        if isinstance(command, Climb):
            return StepReached(command.id, target, command.step, 0.05, 100)
        return StepLost(target, command.step, command.why, command.id)

    def _keep_time(self, command: Command) -> None:
        """Of the policy and of guests: the host's timers fire as they did."""
        if isinstance(command, ClearTimer):
            self._timers.pop(command.key, None)
        elif isinstance(command, SetTimer):
            kind, _, name = command.key.partition(":")
            if kind == "preload" or (kind == "keep" and name in self._guests):
                self._timers[command.key] = command.at_s

    def _due(self, now_s: float) -> Iterator[tuple[float, TimerFired]]:
        while self._timers:
            key = min(self._timers, key=lambda each: (self._timers[each], each))
            if self._timers[key] > now_s:
                return
            yield self._timers.pop(key), TimerFired(key)

    def _ours(self, command: Climb | Descend | Dispatch) -> Command:
        number = self._commands[command.id]
        if isinstance(command, Dispatch):
            instance = InstanceId(int(self._instances[str(command.instance)]))
            return msgspec.structs.replace(command, id=number, instance=instance)
        return msgspec.structs.replace(command, id=number, target=self._target(command.target))

    def _target(self, target: Target) -> Target:
        if target.kind != "instance":
            return target
        return msgspec.structs.replace(target, key=self._instances[target.key])

    def _renumbered(self, event: Event) -> Event:
        if isinstance(event, TimerFired):
            kind, _, name = event.key.partition(":")
            if kind == "keep":
                return TimerFired(f"keep:{self._instances[name]}")
            if kind in ("climb", "descend"):
                return TimerFired(f"{kind}:{self._commands[CommandId(int(name))]}")
        elif isinstance(event, (RequestDone, RequestStarted, InstanceExited)):
            number = InstanceId(int(self._instances[str(event.instance)]))
            return msgspec.structs.replace(event, instance=number)
        elif isinstance(event, HeldChanged):
            return msgspec.structs.replace(event, target=self._target(event.target))
        elif isinstance(event, (StepReached, StepLost, CommandFailed)):
            command = None if event.command is None else self._commands[event.command]
            return msgspec.structs.replace(event, target=self._target(event.target), command=command)
        return event


@pytest.mark.parametrize("preload", ["tyche", "instainfer"])
def test_sandboxes_are_sent_the_same_way_with_and_without_guests(preload: str) -> None:
    snapshot, entries = read_segment(recorded_journal())
    assert snapshot is not None
    host, beside = ControlState.from_snapshot(snapshot), Beside(preload)
    climbs = 0
    for entry in entries:
        recorded = host.handle(entry.event, entry.now_s)
        assert commands_crc(recorded) == entry.commands_crc
        climbs += sum(isinstance(command, Climb) for command in recorded)
        beside.handle(entry.event, entry.now_s, recorded)
    preloads = beside.state.context.store.preloads
    assert climbs > CALLS / 2, "the host had little to do"
    assert preloads.started > CALLS / 4, "hardly anything was loaded ahead"
    assert preloads.used == 0
    assert preloads.wasted > CALLS / 4
