"""A gateway's process: `python -P -c COMMAND DESCRIPTOR PARENT STATE_DIR`, the last for whoever looks at
processes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import structlog
import uvloop

from glowplug.control.leases import LeaseTable
from glowplug.core.forks import die_with_parent
from glowplug.core.ids import FunctionId, InstanceId
from glowplug.core.status import RequestTrace
from glowplug.gateway.access_log import Lines
from glowplug.gateway.flight import FunctionInfo
from glowplug.gateway.forwarding import Forwarding, ForwardingProtocol
from glowplug.gateway.front import Front
from glowplug.gateway.http import http_server
from glowplug.gateway.lifecycle import Gateway
from glowplug.gateway.metrics import Counts
from glowplug.node import wire
from glowplug.node.isolation import syscalls
from glowplug.node.link import Link
from glowplug.server.gateways.messages import (
    Attach,
    Begin,
    Counted,
    Detach,
    Drain,
    Drained,
    FromServer,
    Known,
    LostInstance,
    ReopenLog,
    Serving,
)
from glowplug.server.line_writer import LineWriter
from glowplug.transport.open_requests import NotedConnections, OpenNotes

NAME = "glowplug-gateway"
"""What ps shows of it, or as much of that as the kernel keeps."""
COMMAND = "from glowplug.server.gateways.process import main; main()"
_TELL_S = 0.25
_AT_ONCE = 100
"""Functions, and traces, in one message."""


def main() -> None:
    """Runs until the server closes the control socket, or is gone. Signals of a terminal are the server's."""
    die_with_parent(int(sys.argv[2]))
    syscalls.name_process(NAME)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # it warns of every request that is none
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    control = socket.socket(fileno=int(sys.argv[1]))
    first = wire.Receiver(control, Begin).receive()
    if first is not None:
        begin, (listener, noted) = first
        uvloop.run(_run(control, begin, socket.socket(fileno=listener), noted))


async def _run(control: socket.socket, begin: Begin, listener: socket.socket, noted: int) -> None:
    await GatewayProcess(control, begin, noted).run(listener)


class GatewayProcess:
    """A gateway without a server around it. `noted` is the descriptor of open_requests.py."""

    def __init__(self, control: socket.socket, begin: Begin, noted: int) -> None:
        self._begin = begin
        self._functions: dict[FunctionId, FunctionInfo] = {}
        self._drain = asyncio.Event()
        self._told: dict[str, float] = {}
        self._log: LineWriter[Any] | None = None
        self._over = asyncio.Event()
        self._has_drained = False
        self._link = Link(control, FromServer, self._on_message, self._on_end)
        self.gateway = Gateway(
            begin.gateway, begin.settings, leases=LeaseTable(begin.gateway), known=self._functions.get,
            post=self._link.send, clock=lambda: time.monotonic() + begin.offset_s, place=begin.place,
            connections=NotedConnections(OpenNotes(noted), begin.settings.max_body_bytes),
        )  # fmt: skip
        self.gateway.on_lost = self._on_lost

    async def run(self, listener: socket.socket) -> None:
        front = Front(self.gateway)
        if self._begin.access_log:
            lines = Lines(self._functions.get)
            self._log = LineWriter(self._begin.access_log, lines.line, lines.lost)
            front.access_log = self._log.put
        server = http_server(
            Forwarding(self._begin.server, front.access), partial(ForwardingProtocol, front), loop="none",
            timeout_graceful_shutdown=5,
        )  # fmt: skip
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not (server.started or serving.done()):
            await asyncio.sleep(0)
        self._link.send(Serving())
        telling = asyncio.create_task(self._tell_again_and_again())
        draining = asyncio.create_task(self._drain.wait())
        await asyncio.wait((serving, draining), return_when=asyncio.FIRST_COMPLETED)
        in_time = await self.gateway.drain()
        telling.cancel()
        self._tell()
        self._link.send(Drained(in_time))
        self._has_drained = True
        await self._over.wait()  # who comes meanwhile is told that the server ends
        server.should_exit = True
        await serving
        await self.gateway.close()
        if self._log is not None:
            self._log.close()

    def _on_end(self, why: str) -> None:
        """The server is gone, or has nothing more to say."""
        if not self._has_drained:
            os._exit(1)
        self._over.set()

    def _on_lost(self, instance: InstanceId) -> None:
        self._link.send(LostInstance(instance))

    def _on_message(self, message: Any, descriptors: list[int]) -> None:
        if isinstance(message, Attach):
            self.gateway.attach(message.instance, socket.socket(fileno=descriptors[0]))
        elif isinstance(message, Detach):
            self.gateway.detach(message.instance, message.why, message.code)
        elif isinstance(message, Known):
            if message.info is None:
                self._functions.pop(message.function, None)
            else:
                self._functions[message.function] = message.info
        elif isinstance(message, Drain):
            self._drain.set()
        elif isinstance(message, ReopenLog):
            if self._log is not None:
                self._log.reopen()
        else:
            self.gateway.on_command(message)

    async def _tell_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(_TELL_S)
            self._tell()

    def _tell(self) -> None:
        """What was answered, if anything was, and what there is to do, if that has changed."""
        gateway = self.gateway
        counts, traces, busy = gateway.metrics.taken(), gateway.traces.taken(), gateway.busy()
        if counts.tallies or traces or busy != self._told:
            self._told = busy
            for message in in_parts(counts, traces, busy):
                self._link.send(message)


def in_parts(counts: Counts, traces: list[RequestTrace], busy: dict[str, float]) -> Iterator[Counted]:
    """As many messages as it takes for none to be too large, at least one."""
    tallies, rest = iter(counts.tallies.items()), iter(traces)
    cold_phases = counts.cold_phases
    while True:
        some, few = dict(islice(tallies, _AT_ONCE)), list(islice(rest, _AT_ONCE))
        yield Counted(Counts(some, cold_phases), few, busy)
        cold_phases = []
        if len(some) < _AT_ONCE and len(few) < _AT_ONCE:
            return
