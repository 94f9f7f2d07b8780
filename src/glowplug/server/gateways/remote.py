"""A gateway in a process of its own, as the server sees it: started, heard, and cleared up after when it
dies."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import structlog

from glowplug.control.engine import GatewayCommand
from glowplug.core.events import Event
from glowplug.core.ids import FunctionId, InstanceId, RequestId
from glowplug.gateway.lifecycle import Gateway
from glowplug.node import wire
from glowplug.node.link import Link
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
from glowplug.server.gateways.unfinished import Unfinished
from glowplug.transport.open_requests import OpenRequests

Accept = Callable[[socket.socket], Awaitable[asyncio.Server]]
"""Accepts connections at a listening socket that is not owned, until what it returns is closed."""
log = structlog.get_logger("glowplug.gateways")
_RESTART_S = (0.0, 0.5, 2.0, 5.0)
_LOOK_AGAIN_S = 0.2
_END_S = 5.0


class RemoteGateway:
    """Implements control.engine.GatewayPort. Used in the server's event loop.

    `post` hands its events to the controller; what it counts is counted in `beside`, the server's own
    gateway, which has a connection to every worker as well. `greet` is called when a process has been
    started: it is to be told what the one before it knew. `on_lost` hears of instances to which its
    connection has ended. While there is no process, the server accepts what comes to `listener`, by
    `accept`. `state_dir` is for whoever looks at processes.
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
        accept: Accept,
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
        self._accept = accept
        self._standing_in: asyncio.Task[asyncio.Server] | None = None
        """The server accepts in its place."""
        self._link: Link | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._open: OpenRequests | None = None
        """Outlives the process until it is cleared up after."""
        self._unfinished = Unfinished(begin.gateway)
        self._serving = asyncio.Event()
        self._ended: asyncio.Future[bool] | None = None
        """Whether it drained in time, once it is to end."""
        self._failures = 0

    # its process

    def start(self) -> None:
        """Starts the process. Raises OSError."""
        self._open = OpenRequests()
        ours, theirs = wire.socket_pair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [
                        sys.executable, "-P", "-c", COMMAND,
                        str(theirs.fileno()), str(os.getpid()), self._state_dir,
                    ],
                    stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True,
                )  # fmt: skip
            except BaseException:
                ours.close()
                self._close_open()
                raise
        self.pid = self._process.pid
        self._link = Link(ours, FromGateway, self._on_message, self._on_end)
        self._link.send(self._begin, (os.dup(self._listener.fileno()), os.dup(self._open.descriptor)))
        self._greet(self)

    async def serving(self) -> None:
        """Returns when it accepts connections."""
        await self._serving.wait()

    async def drain(self) -> bool:
        """Has it answer what it has, and refuse what comes. Whether that was in time."""
        self._ended = asyncio.get_running_loop().create_future()
        if self._link is None:
            return True
        self._link.send(Drain())
        try:
            return await asyncio.wait_for(self._ended, self._begin.settings.drain_s + _END_S)
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
        self._close_open()
        self._end_standing_in()

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
        if self._standing_in is None:
            self._standing_in = asyncio.create_task(self._stand_in())
        self._post_all(self._unfinished.cut_off(self._begun()))
        asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self._bury)

    def _begun(self) -> dict[RequestId, InstanceId]:
        assert self._open is not None
        has_begun = self._beside.connections.has_begun
        return {request: instance for request, instance in self._open.read() if has_begun(instance, request)}

    def _bury(self) -> None:
        """Only then is there another, which might be lent what the dead one has to give back."""
        if self._ended is None:
            begun = self._begun()
            self._close_open()
            self._post_all(self._unfinished.buried(begun))
            delay_s = _RESTART_S[min(self._failures, len(_RESTART_S) - 1)]
            self._failures += 1
            asyncio.get_running_loop().call_later(delay_s, self._start_again)

    def _start_again(self) -> None:
        if self._ended is not None:
            return
        try:
            self.start()
        except OSError as error:
            log.error("a gateway cannot be started", gateway=self._begin.gateway, error=str(error))
            asyncio.get_running_loop().call_later(_RESTART_S[-1], self._start_again)

    def _post_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self._post(event)

    def _close_open(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    async def _stand_in(self) -> asyncio.Server:
        return await self._accept(self._listener)

    def _end_standing_in(self) -> None:
        standing_in, self._standing_in = self._standing_in, None
        if standing_in is not None:
            standing_in.add_done_callback(_close)

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
            self._end_standing_in()
        elif isinstance(message, LostInstance):
            self._on_lost(message.instance)
        elif isinstance(message, Drained):
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(message.in_time)
        else:
            self._unfinished.heard(message)
            self._post(message)

    def _is_known(self, function: str) -> bool:
        return self._beside.known(FunctionId(function)) is not None

    # what it is told

    def on_command(self, command: GatewayCommand) -> None:
        if self._link is not None or self._open is not None:
            self._unfinished.told(command)
            self.tell(command)
        else:
            self._post_all(self._unfinished.refused(command))

    def attach(self, instance: InstanceId, sock: socket.socket) -> None:
        """An instance begins to climb; `sock` is the gateway's end of its wire, owned from here on."""
        self.tell(Attach(instance), (sock.detach(),))

    def detach(self, instance: InstanceId, why: str, code: str) -> None:
        """An instance has ended."""
        self._unfinished.ended(instance)
        self.tell(Detach(instance, why, code))

    def tell(self, message: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
        if self._link is None:
            wire.close_all(descriptors)
        else:
            self._link.send(message, descriptors)


def _close(standing_in: asyncio.Task[asyncio.Server]) -> None:
    if not standing_in.cancelled() and standing_in.exception() is None:
        standing_in.result().close()
