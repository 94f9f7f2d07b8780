"""Processes that have a device's context and no function yet: one is ready on each device where a context
takes its time.

A context starts threads, and what confines a process binds the thread that asks and those it starts later. So
each is confined first, to a seat of its own (isolation/seats.py), and what its function may read is brought
there. A climb takes it, so that it does not wait for a context; it serves that one function and ends with it,
and another is made. A device may be told to share instead: then the first worker of a namespace waits for a
context, and all of them have it together, for as long as one of them lives.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from glowplug.core.commands import Climb
from glowplug.core.events import ContextWaits
from glowplug.core.ids import DeviceId
from glowplug.loader.errors import DeviceFull
from glowplug.node import claims, wire
from glowplug.node.devices import NodeDevice, Residence
from glowplug.node.messages import ContextReady, Failed, Rehearse
from glowplug.node.processes import Process
from glowplug.node.rehearsals import Rehearsals
from glowplug.node.roster import Held

if TYPE_CHECKING:
    from glowplug.node.agent import Agent


class Contexts:
    """Of one agent, in its event loop. At most one process a device, of the environment that climbed there
    last."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._rehearsals = Rehearsals(agent.store)
        self._by_device: dict[DeviceId, Held] = {}
        self._held: dict[Process, Held] = {}
        """Until they are gone, or taken."""

    def owns(self, process: Process) -> bool:
        """Whether no function has taken it yet."""
        return process in self._held

    def hear_of(self, climb: Climb) -> None:
        """Before it is begun. What climbs towards a device is soon asked for there: the process that waits in
        its environment is told what a first pass of it loads."""
        spec = climb.spec
        if spec.declaration.device == "cpu":
            return
        self._rehearsals.heard_of(spec)
        if climb.device is not None:
            return
        for held in self._held.values():
            # Who reads soon: what is still opening its context was told of all that climbed before.
            if held.ready and held.climb is not None and _is_of(held.climb, climb):
                record = self._rehearsals.record(spec.version)
                if record:
                    held.process.send(Rehearse((record,)))  # one that is gone is told of by its exit

    def take(self, climb: Climb, device: NodeDevice) -> Held | None:
        """A process that is ready for a function of this climb's environment; its room is free from now
        on."""
        held = self._by_device.get(device.id)
        if held is None or not held.ready or held.process.exited or device.why_gone:
            return None
        if held.climb is None or not _is_of(held.climb, climb):
            return None
        del self._by_device[device.id], self._held[held.process]
        self._agent.devices.left(held)
        return held

    def put_back(self, held: Held, device: NodeDevice) -> None:
        """A process that was taken for a climb for which there was no room waits for the next one."""
        reservation = device.ledger.reserve(device.setting.context_bytes)  # nobody had a turn meanwhile
        held.residence = Residence(device, reservation, has_context=False)
        self._by_device[device.id] = self._held[held.process] = held

    def become_worker(self, held: Held, climb: Climb, data: tuple[int, ...], **more: Any) -> None:
        """A process that was taken serves this climb from now on; `more` is for its Fork message. Raises
        OSError; then it is of no use."""
        # From here on its end is this climb's end.
        held.target, held.climb, held.function, held.ready = climb.target, climb, climb.spec.function, False
        held.weights = (climb.spec.version,)
        held.process.name = f"worker of {climb.spec.function}"
        pipes: list[tuple[int, int]] = []
        own: tuple[int, ...] = ()
        weights: tuple[int, ...] = ()
        try:
            message, own, weights = self._agent.births.given(held, climb, **more)
            for stream in ("stdout", "stderr"):
                pipes.append(os.pipe2(os.O_CLOEXEC))
                held.process.capture(pipes[-1][0], stream)
            # In a worker's order: its socket, its weights, and last what its device is told by.
            role = (*own, *data[:1], *weights, *data[1:])
            if not held.process.send(message, (*(pipe[1] for pipe in pipes), *role)):
                raise BrokenPipeError(f"{held.process.name} is gone")
        except BaseException:
            held.process.kill()
            raise
        finally:
            wire.close_all((*(pipe[1] for pipe in pipes), *own, *weights))
        held.started_s = time.monotonic()

    def prepare(self, climb: Climb, device: NodeDevice) -> None:
        """Makes one ready for the next climb like this one, in place of another environment's."""
        if not device.has_contexts or device.why_gone:
            return
        held = self._by_device.get(device.id)
        if held is not None and not held.process.exited:
            assert held.climb is not None
            if _is_of(held.climb, climb):
                return
            held.process.kill()  # its room is needed for the other: that is made after the next climb
            return
        parent = self._agent.roster.environments.get(climb.spec.environment_key)
        if parent is None or not parent.ready or parent.process.exited:
            return
        try:
            reservation = device.ledger.reserve(device.setting.context_bytes)
        except DeviceFull:
            return  # of one that is on its way out
        residence = Residence(device, reservation, has_context=False)
        try:
            held = self._agent.births.context(
                parent, climb, device, self._rehearsals.of(climb.spec.environment_key)
            )
        except (OSError, ValueError):
            device.ledger.release(reservation)
            return
        held.residence = residence
        self._by_device[device.id] = self._held[held.process] = held

    def on_message(self, process: Process, message: Any) -> None:
        """Of a process that no function took yet: it has nothing to tell but that it is ready, once."""
        held = self._held[process]
        if isinstance(message, ContextReady) and not held.ready:
            assert held.residence is not None
            held.ready = True
            self._agent.spawn(self._tell_ready(held, held.residence.device, message.held_bytes))
        elif not isinstance(message, Failed):
            process.kill()

    async def _tell_ready(self, held: Held, device: NodeDevice, said_bytes: int) -> None:
        held_bytes = await claims.held_bytes_of(held, said_bytes)
        if held_bytes and not device.why_gone:
            self._agent.emit(ContextWaits(device.id, held_bytes))

    def on_exit(self, process: Process) -> None:
        """It ended before any function took it."""
        held = self._held.pop(process)
        assert held.residence is not None
        number = held.residence.device.id
        self._agent.devices.left(held)
        if self._by_device.get(number) is held:
            del self._by_device[number]

    def forget(self, device: NodeDevice) -> None:
        """The device is lost, and they with it."""
        held = self._by_device.get(device.id)
        if held is not None:
            held.process.kill()

    def everyone(self) -> list[Held]:
        """Who waits, or is on its way out; those that were taken are in the roster."""
        return list(self._held.values())


def _is_of(waiting: Climb, climb: Climb) -> bool:
    """Whether a process that was made for the one could serve the other."""
    return waiting.spec.environment_key == climb.spec.environment_key
