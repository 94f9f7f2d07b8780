"""The gateways of one server beside each other: its own, in its process, and those in processes of their
own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

import msgspec
import structlog

from glowplug.core.errors import Unavailable
from glowplug.core.events import Event
from glowplug.core.ids import FunctionId, GatewayId, InstanceId
from glowplug.gateway.flight import FunctionInfo, Place
from glowplug.gateway.lifecycle import Gateway
from glowplug.node import wire
from glowplug.server.gateways.messages import Begin, Known, ReopenLog
from glowplug.server.gateways.remote import Accept, RemoteGateway
from glowplug.transport.closing import close_peer
from glowplug.transport.several_gateways import let_in

log = structlog.get_logger("glowplug.gateways")
_START_S = 30.0


class GatewayGroup:
    """Each instance's worker gets a wire to each gateway, through its door. Used in the server's event loop.

    `own` is the server's, `state_dir` is for those who look at processes; `register` makes another one known
    to the controller, to which `post` hands events.
    """

    def __init__(
        self,
        own: Gateway,
        count: int,
        offset_s: float,
        state_dir: str,
        post: Callable[[Event], None],
        register: Callable[[GatewayId, RemoteGateway], None],
    ) -> None:
        self._own = own
        self._count = count
        self._offset_s = offset_s
        self._state_dir = state_dir
        self._post = post
        self._register = register
        self._remotes: list[RemoteGateway] = []
        self._doors: dict[InstanceId, socket.socket] = {}
        self._functions: dict[FunctionId, FunctionInfo] = {}
        own.on_lost = self._lost
        own.beside = lambda: [remote.busy for remote in self._remotes if remote.busy]

    async def start(
        self, listeners: Sequence[socket.socket], server: tuple[str, int], access_log: str, accept: Accept
    ) -> None:
        """Starts the others, each on its own of `listeners`, where the server accepts while one is gone.
        `server` is where the server listens for them. Returns when all serve. Raises Unavailable."""
        own = self._own.settings
        # What is kept is kept here: each sends its part of that, four times a second.
        settings = msgspec.structs.replace(own, traces_kept=max(1, own.traces_kept // self._count))
        for number, listener in enumerate(listeners, 1):
            gateway = GatewayId(f"{self._own.id}-{number}")
            begin = Begin(gateway, Place(number, self._count), settings, self._offset_s, server, access_log)
            remote = RemoteGateway(
                begin, listener, self._state_dir, self._own, self._post, self._greet, self._lost, accept
            )
            self._register(gateway, remote)
            self._remotes.append(remote)
            try:
                remote.start()
            except OSError as error:
                raise Unavailable(f"a gateway cannot be started: {error}") from error
        try:
            async with asyncio.timeout(_START_S):
                for remote in self._remotes:
                    await remote.serving()
        except TimeoutError:
            raise Unavailable(f"a gateway did not start in {_START_S:.0f} s; see the server's log") from None

    def _greet(self, remote: RemoteGateway) -> None:
        for function, info in self._functions.items():
            remote.tell(Known(function, info))
        for instance, door in list(self._doors.items()):
            self._connect(remote, instance, door)

    def _connect(self, gateway: Gateway | RemoteGateway, instance: InstanceId, door: socket.socket) -> None:
        ours, theirs = wire.socket_pair(socket.SOCK_STREAM)
        try:
            let_in(door, theirs)
        except OSError:  # it is gone, and its end is told next; nothing will be sent to it
            log.warning("a worker takes no connection", instance=instance)
            ours.close()
            close_peer(door)
        else:
            gateway.attach(instance, ours)

    # what the platform and the engine tell

    def know(self, function: FunctionId, info: FunctionInfo | None) -> None:
        """What is deployed of a function; None when nothing is any more."""
        if info is None:
            self._functions.pop(function, None)
        else:
            self._functions[function] = info
        for remote in self._remotes:
            remote.tell(Known(function, info))

    def attach(self, instance: InstanceId, door: socket.socket) -> None:
        """An instance begins to climb; `door` leads to its worker, and is owned from here on."""
        self._doors[instance] = door
        gateways: list[Gateway | RemoteGateway] = [self._own, *self._remotes]
        for gateway in gateways:
            self._connect(gateway, instance, door)

    def detach(self, instance: InstanceId, why: str, code: str = "worker_died") -> None:
        """An instance has ended."""
        self._lost(instance)
        self._own.detach(instance, why, code)
        for remote in self._remotes:
            remote.detach(instance, why, code)

    def detach_all(self, why: str) -> None:
        """Every instance has ended."""
        for instance in {*self._doors, *self._own.connections, *self._own.invoker.fallen()}:
            self.detach(instance, why)

    def _lost(self, instance: InstanceId) -> None:
        """One gateway is no longer connected to an instance, which for all of them is the end of it."""
        door = self._doors.pop(instance, None)
        if door is not None:
            close_peer(door)

    # the end

    def reopen_log(self) -> None:
        for remote in self._remotes:
            remote.tell(ReopenLog())

    async def drain(self) -> bool:
        """As Gateway.drain, of all gateways."""
        return all(await asyncio.gather(self._own.drain(), *(remote.drain() for remote in self._remotes)))

    async def close(self) -> None:
        """Ends the others."""
        await asyncio.gather(*(remote.close() for remote in self._remotes))
        for instance in list(self._doors):
            self._lost(instance)
