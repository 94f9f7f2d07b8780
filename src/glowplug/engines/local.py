"""The engine of one machine: an agent process, its commands, its events, and its return after a crash."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from glowplug.core.commands import Build, Climb, Command, Target
from glowplug.core.devices import Fault
from glowplug.core.errors import InvalidArguments, Unavailable
from glowplug.core.events import CommandFailed, Event, NodeJoined, NodeLost
from glowplug.core.ids import DeviceId, InstanceId, NodeId
from glowplug.core.settings import NodeSettings
from glowplug.core.specs import DeviceSpec, FunctionSpec, NodeSpec
from glowplug.node import wire
from glowplug.node.agent_main import COMMAND
from glowplug.node.link import Link
from glowplug.node.messages import (
    AgentReady,
    CacheDone,
    CacheWeights,
    Disturb,
    Disturbed,
    Do,
    FromAgent,
    Happened,
    PackagesRemoved,
    RemovePackages,
    Said,
    StopAgent,
)

log = structlog.get_logger("glowplug.engine")
_RESTART_S = (0.05, 0.5, 2.0, 5.0)
_STOP_S = 5.0


def _lean(command: Build | Climb) -> Build | Climb:
    """A climb without what its processes read from the bundle, or get beside it: descriptions of endpoints
    are as long as their author makes them, and a message has an end."""
    if isinstance(command, Build):
        return command
    declaration = replace(command.spec.declaration, endpoints=(), env={}, doc="")
    facts = None if command.facts is None else replace(command.facts, endpoints=())
    return replace(command, spec=replace(command.spec, declaration=declaration), facts=facts)


class LocalEngine:
    """Implements control.engine.Engine with one agent on this machine.

    Every method runs in the event loop that `start` ran in. Commands sent while no agent lives fail at
    once with `unavailable`. `attach` is given this end of each instance's data socket, a stream; or, where
    it has a door for `several` gateways (transport.several_gateways), of that. `env_of` gives a function's
    environment variables, secrets included.
    """

    def __init__(
        self,
        settings: NodeSettings,
        attach: Callable[[InstanceId, socket.socket], None],
        env_of: Callable[[FunctionSpec], dict[str, str]],
        on_lines: Callable[[Said], None],
        *,
        several: bool = False,
    ) -> None:
        self.settings = settings
        self._data_kind = socket.SOCK_SEQPACKET if several else socket.SOCK_STREAM
        self.isolation: dict[str, str] = {}
        self.devices: tuple[DeviceSpec, ...] = ()
        self.agent_pid = 0
        self._attach = attach
        self._env_of = env_of
        self._on_lines = on_lines
        self._emit: Callable[[Event], None] = lambda event: None
        self._link: Link | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._ready = asyncio.Event()
        self._closing = False
        self._failures = 0
        self._tokens = 0

    def connect(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit

    async def start(self) -> None:
        """Starts the agent and waits until it is ready. Raises Unavailable when it does not come up, or when
        it has not all that `strict` asks for: before any code of a user's can run."""
        self._spawn()
        try:
            await asyncio.wait_for(self._ready.wait(), 30)
        except TimeoutError:
            raise Unavailable("the node's agent did not start within 30 s; see the server's log") from None
        weak = [f"{name}: {self.isolation[name]}" for name in _missing(self.isolation)]
        if self.settings.strict and weak:
            raise Unavailable("--strict: this host does not allow what isolation needs. " + "; ".join(weak))

    def submit(self, command: Command) -> None:
        if not isinstance(command, (Build, Climb)):
            self._send(Do(command))  # type: ignore[arg-type]
            return
        if self._link is None:
            self._refuse(command)
            return
        descriptors: tuple[int, ...] = ()
        try:
            env = self._env_of(command.spec)
            if isinstance(command, Climb) and command.target.kind == "instance":
                ours, theirs = wire.socket_pair(self._data_kind)
                self._attach(InstanceId(int(command.target.key)), ours)
                descriptors = (theirs.detach(),)
            self._link.send(Do(_lean(command), env), descriptors)
        except Exception as error:  # secrets that cannot be read, no more files, or too large
            log.error("a command cannot be sent", error=str(error))
            self._refuse(command, str(error))

    async def cache_weights(self, version: str, cached: bool) -> int:
        """Reads a version's pack into the page cache or evicts it; returns the bytes resident then."""
        resident_bytes: int = await self._ask(lambda token: CacheWeights(token, version, cached))
        return resident_bytes

    async def remove_packages(self, names: tuple[str, ...], cache: bool = False) -> tuple[str, ...]:
        """Removes installed packages that no environment uses now, and with `cache` what installers
        downloaded; returns the names of what is gone. Raises Unavailable when the agent is not there."""
        gone: tuple[str, ...] = await self._ask(lambda token: RemovePackages(token, names, cache))
        return gone

    async def disturb(self, device: DeviceId, fault: Fault) -> None:
        """Breaks a device, or makes it whole again. Raises InvalidArguments when that cannot be told to it,
        Unavailable when the agent is not there."""
        problem: str = await self._ask(lambda token: Disturb(token, device, fault))
        if problem:
            raise InvalidArguments(problem, "device")

    async def _ask(self, make: Callable[[int], msgspec.Struct]) -> Any:
        if self._link is None:
            raise Unavailable("the node's agent is being started again")
        self._tokens += 1
        future = self._waiting[self._tokens] = asyncio.get_running_loop().create_future()
        self._send(make(self._tokens))
        return await future

    async def close(self) -> None:
        """Stops the agent and all that it started. Returns when they are gone."""
        self._closing = True
        self._send(StopAgent())
        if self._process is not None:
            try:
                await asyncio.wait_for(asyncio.to_thread(self._process.wait), _STOP_S)
            except TimeoutError:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
        self._drop_link()

    def _spawn(self) -> None:
        ours, theirs = wire.socket_pair()
        settings = msgspec.json.encode(self.settings).decode()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", COMMAND, str(theirs.fileno()), str(os.getpid()), settings],
                stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip
        finally:
            theirs.close()
        self.agent_pid = self._process.pid
        self._link = Link(ours, FromAgent, self._handle, self._lost)

    def _handle(self, message: Any, descriptors: list[int]) -> None:
        wire.close_all(descriptors)
        if isinstance(message, Happened):
            self._emit(message.event)
        elif isinstance(message, Said):
            self._on_lines(message)
        elif isinstance(message, CacheDone):
            self._answer(message.token, message.resident_bytes)
        elif isinstance(message, PackagesRemoved):
            self._answer(message.token, message.names)
        elif isinstance(message, Disturbed):
            self._answer(message.token, message.problem)
        elif isinstance(message, AgentReady):
            self._join(message)

    def _join(self, message: AgentReady) -> None:
        """Unless this agent is less isolated than the one before it was, at which somebody has looked."""
        weaker = [name for name in _missing(message.isolation) if name not in _missing(self.isolation)]
        if self.isolation and weaker:
            told = "; ".join(f"{name}: {message.isolation[name]}" for name in weaker)
            self._lost(f"it is less isolated than the one before, and so was ended: {told}")
            return
        self.isolation, self.devices = message.isolation, message.devices
        self._failures = 0
        cores = len(os.sched_getaffinity(0))
        spec = NodeSpec(self.settings.node, self.settings.budget_bytes, cores, message.devices)
        self._emit(NodeJoined(spec))
        self._ready.set()

    def _answer(self, token: int, value: Any) -> None:
        future = self._waiting.pop(token, None)
        if future is not None and not future.done():
            future.set_result(value)

    def _lost(self, why: str) -> None:
        """The agent is gone, or as good as that, and with it every process it made. Tell, and start
        another."""
        self._drop_link()
        if self._closing:
            return
        code = None
        if self._process is not None:
            self._process.kill()  # one that neither reads nor speaks does not end by itself
            code = self._process.wait()
        log.error("the agent is gone; starting another", why=why, exit_code=code)
        self._emit(NodeLost(NodeId(self.settings.node), f"its agent ended with {code}"))
        delay_s = _RESTART_S[min(self._failures, len(_RESTART_S) - 1)]
        self._failures += 1
        asyncio.get_running_loop().call_later(delay_s, self._respawn)

    def _respawn(self) -> None:
        if not self._closing:
            try:
                self._spawn()
            except OSError as error:
                log.error("the agent cannot be started", error=str(error))
                self._lost(str(error))

    def _drop_link(self) -> None:
        if self._link is None:
            return
        self._link.close()
        self._link = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable("the node's agent is gone"))
        self._waiting.clear()

    def _send(self, message: msgspec.Struct) -> None:
        """To nobody while there is no agent."""
        if self._link is not None:
            self._link.send(message)

    def _refuse(self, command: Build | Climb, why: str = "the node's agent is being started again") -> None:
        if isinstance(command, Climb):
            target = command.target
        else:
            target = Target("build", command.node, command.spec.version)
        event = CommandFailed(command.id, target, "unavailable", why)
        asyncio.get_running_loop().call_soon(self._emit, event)


def _missing(isolation: dict[str, str]) -> list[str]:
    """The features that this host does not allow."""
    return [name for name, word in isolation.items() if word.startswith("no")]
