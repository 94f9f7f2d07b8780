"""A gateway in a process of its own, as the server sees it: started, heard, and cleared up after when it dies."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import structlog

from glowplug.core.commands import Dispatch, Lease, Reject, Revoke
from glowplug.core.events import Event, LeaseReport, RequestArrived, RequestDone
from glowplug.core.events import RequestCancelled as RequestCancelledEvent
from glowplug.core.ids import InstanceId, RequestId
from glowplug.gateway.lifecycle import Gateway
from glowplug.node import wire
from glowplug.server.gateways.link import Link
from glowplug.server.gateways.messages import (
    Attach,
    Begin,
    Counted,
    Detach,
    Drain,
    Drained,
    FromGateway,
    LostInstance,
    Serving,
)
from glowplug.server.gateways.process import COMMAND
from glowplug.transport.open_requests import OpenRequests

log = structlog.get_logger("glowplug.gateways")
_RESTART_S = (0.0, 0.5, 2.0, 5.0)
_LOOK_AGAIN_S = 0.2
_END_S = 5.0


class RemoteGateway:
    """Implements control.engine.GatewayPort. Used in the server's event loop.

    `post` hands its events to the controller; what it counts is counted in `beside`, the server's own gateway,
    which has a connection to every worker as well. `greet` is called when a process has been started: it is to be
    told what the one before it knew. `on_lost` hears of instances that its connection to has ended.

    When the process dies, its clients are gone: so what it had in workers is cancelled as if each client had left,
    but for what no worker has begun, which no worker begins any more. What it had asked is forgotten, and its leases
    are over, before another one is started.
    """

    def __init__(
        self,
        begin: Begin,
        listener: socket.socket,
        state_dir: str,
        beside: Gateway,
        post: Callable[[Event], None],
        greet: Callable[[RemoteGateway], None],
        on_lost: Callable[[InstanceId], None],
    ) -> None:
        self.busy: dict[str, float] = {}
        """What it has to do, by the names of Gateway.gauges; empty while it does not serve."""
        self.pid = 0
        self._begin = begin
        self._listener = listener
        self._state_dir = state_dir
        self._beside = beside
        self._post = post
        self._greet = greet
        self._on_lost = on_lost
        self._link: Link | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._open: OpenRequests | None = None
        self._asked: dict[RequestId, InstanceId | None] = {}
        """What the controller was asked and has not done with, and where it was sent."""
        self._leased: set[InstanceId] = set()
        self._serving = asyncio.Event()
        self._ended: asyncio.Future[bool] | None = None
        """Whether it drained in time, once it is to end."""
        self._failures = 0

    # its process

    def start(self) -> None:
        """Starts the process. Raises OSError."""
        ours, theirs = wire.socket_pair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, str(theirs.fileno()), str(os.getpid()), self._state_dir],
                stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip
        self.pid = self._process.pid
        self._open = OpenRequests()
        self._link = Link(ours, FromGateway, self._on_message, self._on_end)
        self._link.send(self._begin, (os.dup(self._listener.fileno()), os.dup(self._open.descriptor)))
        self._greet(self)

    async def serving(self) -> None:
        """Returns when it accepts connections."""
        await self._serving.wait()

    async def drain(self) -> bool:
        """Has it answer what it has, and end. Whether that was in time."""
        self._ended = asyncio.get_running_loop().create_future()
        if self._link is None:
            return True
        self._link.send(Drain())
        try:
            return await asyncio.wait_for(self._ended, self._begin.settings.drain_s + 2 * _END_S)
        except TimeoutError:
            return False

    async def close(self) -> None:
        """Ends it, drained or not."""
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._process is not None:
            try:
                await asyncio.wait_for(asyncio.to_thread(self._process.wait), _END_S)
            except TimeoutError:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
        if self._open is not None:
            self._open.close()
            self._open = None

    def _on_end(self, why: str) -> None:
        """The process is gone, or as good as that."""
        assert self._process is not None
        self._link = None
        self._serving.clear()
        self.busy = {}
        self._process.kill()
        code = self._process.wait()
        if self._ended is not None:
            if not self._ended.done():
                self._ended.set_result(False)
            return
        log.error("a gateway is gone; starting another", gateway=self._begin.gateway, why=why, exit_code=code)
        self._clear_up(finally_=False)
        asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self._bury)

    def _clear_up(self, finally_: bool) -> None:
        """Of what was sent to workers, what they have begun is stopped, and its place is free; the rest has its
        place until it is certain that it will not begin."""
        assert self._open is not None
        has_begun = self._beside.connections.has_begun
        begun = {request: instance for request, instance in self._open.read() if has_begun(instance, request)}
        asked, self._asked = self._asked, {}
        for request, instance in (asked | begun).items():
            if instance is None or request in begun:
                self._post(RequestCancelledEvent(request=request, instance=instance))
        for request, instance in asked.items():
            if instance is None:
                continue
            if request in begun or finally_:
                self._post(RequestDone(request=request, instance=instance, ok=False, took_s=0.0))
            else:
                self._asked[request] = instance

    def _bury(self) -> None:
        """What workers had just taken when it died has begun by now, and the rest they have dropped."""
        if self._ended is not None:
            return
        assert self._open is not None
        self._clear_up(finally_=True)
        self._open.close()
        self._open = None
        leased, self._leased = self._leased, set()
        for instance in leased:
            self._give_back(instance)
        delay_s = _RESTART_S[min(self._failures, len(_RESTART_S) - 1)]
        self._failures += 1
        asyncio.get_running_loop().call_later(delay_s, self._start_again)

    def _give_back(self, instance: InstanceId) -> None:
        self._post(LeaseReport(gateway=self._begin.gateway, instance=instance, final=True))

    def _start_again(self) -> None:
        if self._ended is not None:
            return
        try:
            self.start()
        except OSError as error:
            log.error("a gateway cannot be started", gateway=self._begin.gateway, error=str(error))
            asyncio.get_running_loop().call_later(_RESTART_S[-1], self._start_again)

    # what it says

    def _on_message(self, message: Any, descriptors: list[int]) -> None:
        wire.close_all(descriptors)
        if isinstance(message, Counted):
            self.busy = message.busy
            self._beside.metrics.add(message.counts, self._is_known)
            for trace in message.traces:
                self._beside.traces.add(trace)
        elif isinstance(message, Serving):
            self._failures = 0
            self._serving.set()
        elif isinstance(message, LostInstance):
            self._on_lost(message.instance)
        elif isinstance(message, Drained):
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(message.in_time)
        else:
            self._note(message)
            self._post(message)

    def _is_known(self, function: str) -> bool:
        return self._beside.known(function) is not None  # type: ignore[arg-type]

    def _note(self, event: Any) -> None:
        """Keeps what is to be cleared up if it dies now."""
        if isinstance(event, RequestArrived):
            self._asked[event.request] = None
        elif isinstance(event, RequestDone):
            self._asked.pop(event.request, None)
        elif isinstance(event, RequestCancelledEvent):
            self._settled(event.request)
        elif isinstance(event, LeaseReport) and event.final:
            self._leased.discard(event.instance)

    def _settled(self, request: RequestId) -> None:
        """What was sent to a worker has its place there until the worker has done with it."""
        if self._asked.get(request) is None:
            self._asked.pop(request, None)

    # what it is told

    def on_command(self, command: Dispatch | Lease | Revoke | Reject) -> None:
        if isinstance(command, Dispatch):
            self._on_dispatch(command)
        elif isinstance(command, Lease):
            self._leased.add(command.instance)
            if self._link is None and self._open is None:
                self._leased.discard(command.instance)
                self._give_back(command.instance)
        elif isinstance(command, Reject):
            self._settled(command.request)
        self.tell(command)

    def _on_dispatch(self, command: Dispatch) -> None:
        for request in command.requests:
            if self._link is None:
                self._post(RequestDone(request=request, instance=command.instance, ok=False, took_s=0.0))
            elif request in self._asked:
                self._asked[request] = command.instance

    def attach(self, instance: InstanceId, sock: socket.socket) -> None:
        """An instance begins to climb; `sock` is the gateway's end of its wire, owned from here on."""
        self.tell(Attach(instance), (sock.detach(),))

    def detach(self, instance: InstanceId, why: str, code: str) -> None:
        """An instance has ended."""
        self._leased.discard(instance)
        self._asked = {request: where for request, where in self._asked.items() if where != instance}
        self.tell(Detach(instance, why, code))

    def tell(self, message: msgspec.Struct, descriptors: Iterable[int] = ()) -> None:
        if self._link is None:
            wire.close_all(descriptors)
        else:
            self._link.send(message, tuple(descriptors))
