"""A worker: one instance of one function. It climbs, says so, and answers requests on its data socket."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from functools import partial

from glowplug.bundle.instantiate import Phases, Served
from glowplug.loader.devices.base import Device
from glowplug.node import procfs, wire
from glowplug.node.answers import Answers
from glowplug.node.interrupts import Interrupts
from glowplug.node.messages import Fork, WorkerReady
from glowplug.node.on_device import run_there, settle
from glowplug.node.parallel import restore_threads
from glowplug.node.part import connect
from glowplug.node.serial_worker import SerialWorker
from glowplug.node.zygote import give_back, reseed
from glowplug.transport.several_gateways import SeveralGateways
from glowplug.transport.worker_side import WorkerEndpoint


class Worker:
    """Lives in a process of its own, in its main thread. Ends when the gateway or the agent is gone.

    `data` is the wire to the gateway, a stream, or the door through which those to several come.
    `served` is what its zygote had staged, else it climbs by itself; `imported_s` is what the environment's
    imports took when they were made for this very worker, else 0; `weights` is
    for `load`, when it is given their file: while they still stream into the node's disk cache, or because it
    was confined before its function was known; `device` is where it computes.
    """

    def __init__(
        self,
        message: Fork,
        control: socket.socket,
        data: socket.socket,
        served: Served | None,
        imported_s: float,
        weights: Sequence[int] = (),
        device: Device | None = None,
    ) -> None:
        self.message = message
        self.control = control
        self.served = served
        self.weights = weights
        self.device = device
        self.origin = (
            "remote"
            if message.arriving
            else "parked"
            if message.prime
            else "staged"
            if served
            else "local"
            if imported_s
            else "imported"
        )
        self.imported_s = imported_s
        several = data.type == socket.SOCK_SEQPACKET
        self.answers = Answers(
            message.function, SeveralGateways(data) if several else WorkerEndpoint(data), control
        )

    def run(self) -> None:
        answers = self.answers
        interrupts = Interrupts(self.control, answers.refuse, answers.let_go)
        signal.signal(signal.SIGUSR1, interrupts.on_signal)
        interrupts.on_signal()  # what was sent while the signal was ignored
        served, phases = self._climb()
        # On a device a climb is over before a request is sent there: it waited for that in its queue.
        first = phases.seconds if not self.message.prime and self.device is None else None
        answers.climbed(first, self.origin, served.pack if self.message.arriving else None)
        if served.routes.wants_a_loop:
            from glowplug.node.loop_worker import LoopWorker  # asyncio, which few need

            LoopWorker(answers, served.routes, self.control).run()
        elif served.routes.concurrency > 1:
            from glowplug.node.threaded_worker import ThreadedWorker

            ThreadedWorker(answers, served.routes, self.control, _rest).run()
        else:
            SerialWorker(
                answers, served.routes, interrupts, _rest, batches_are_made=self.device is not None
            ).run()

    def _climb(self) -> tuple[Served, Phases]:
        phases = Phases()
        if self.imported_s:
            phases.seconds["import"] = self.imported_s
            if self.message.environment_s:
                phases.seconds["environment"] = self.message.environment_s
        phases.seconds["fork"] = max(0.0, time.monotonic() - self.message.sent_s)
        if self.message.fetched_s:
            phases.seconds["fetch"] = self.message.fetched_s
        os.environ.setdefault("GLOWPLUG_FUNCTION", self.message.function)
        served = self._served(phases)
        reseed()  # also what setup() seeded here, as if it had run in a zygote
        if self.message.gang is not None:
            connect(served, self.message.gang)
        restore_threads()
        held = peak = 0
        if self.message.prime:
            with phases.phase("first_compute"):
                served.rehearse()
            peak = procfs.private_dirty_bytes()
            held = give_back(peak)
        elif served.pack is not None:
            served.pack.prefetch()
        wire.send(self.control, WorkerReady(phases.seconds, held, peak))
        return served, phases

    def _served(self, phases: Phases) -> Served:
        from glowplug.node.roles import load

        if self.device is None:
            return self.served or load(self.message, phases, self.weights)
        with phases.phase("import"):
            placed_on = settle(self.device)
        served = self.served or load(self.message, phases, self.weights, placed_on)
        served.routes.wrap(partial(run_there, self.device))
        return served


def _rest() -> None:
    """A call's scratch memory is nobody's until the next one."""
    give_back(procfs.private_dirty_bytes())
