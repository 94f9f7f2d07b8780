"""The engine of one machine: an agent process, its commands, its events, and its return after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from glowplug.core.commands import Build, Climb, Command, Descend, Target
from glowplug.core.devices import Fault
from glowplug.core.errors import InvalidArguments, Unavailable
from glowplug.core.events import CommandFailed, Event, NodeJoined, NodeLost
from glowplug.core.ids import DeviceId, InstanceId, NodeId
from glowplug.core.settings import NodeSettings
from glowplug.core.specs import DeviceSpec, FunctionSpec, NodeSpec
from glowplug.node import wire
from glowplug.node.agent_main import COMMAND
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
_MESSAGES_AT_ONCE = 64
"""A function may print without end: requests have their turn in between."""


class LocalEngine:
    """Implements control.engine.Engine with one agent on this machine.

    Every method runs in the event loop that `start` ran in. Commands sent while no agent lives fail at
    once with `unavailable`. `attach` is given this end of each instance's data socket; `env_of` gives a
    function's environment variables, secrets included.
    """

    def __init__(
        self,
        settings: NodeSettings,
        attach: Callable[[InstanceId, socket.socket], None],
        env_of: Callable[[FunctionSpec], dict[str, str]],
        on_lines: Callable[[Said], None],
    ) -> None:
        self.settings = settings
        self.isolation: dict[str, str] = {}
        self.devices: tuple[DeviceSpec, ...] = ()
        self.agent_pid = 0
        self._attach = attach
        self._env_of = env_of
        self._on_lines = on_lines
        self._emit: Callable[[Event], None] = lambda event: None
        self._sock: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._outbox: deque[tuple[msgspec.Struct, list[int]]] = deque()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._ready = asyncio.Event()
        self._closing = False
        self._failures = 0
        self._tokens = 0

    def connect(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit

    async def start(self) -> None:
        """Starts the agent and waits until it is ready. Raises Unavailable when it does not come up."""
        self._spawn()
        try:
            await asyncio.wait_for(self._ready.wait(), 30)
        except TimeoutError:
            raise Unavailable("the node's agent did not start within 30 s; see the server's log") from None

    def submit(self, command: Command) -> None:
        if not isinstance(command, (Build, Climb, Descend)):
            self._send(Do(command))  # type: ignore[arg-type]
            return
        if self._sock is None:
            if not isinstance(command, Descend):
                self._refuse(command)
            return
        if isinstance(command, Descend):
            self._send(Do(command))
            return
        descriptors: list[int] = []
        try:
            env = self._env_of(command.spec)
            if isinstance(command, Climb) and command.target.kind == "instance":
                ours, theirs = wire.socket_pair(socket.SOCK_STREAM)
                self._attach(InstanceId(int(command.target.key)), ours)
                descriptors.append(theirs.detach())
        except Exception as error:  # secrets that cannot be read, or no more files
            log.error("a command cannot be sent", error=str(error))
            self._refuse(command, str(error))
            return
        self._send(Do(command, env), descriptors)

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
        if self._sock is None:
            raise Unavailable("the node's agent is being started again")
        self._tokens += 1
        future = self._waiting[self._tokens] = asyncio.get_running_loop().create_future()
        self._send(make(self._tokens))
        return await future

    async def close(self) -> None:
        """Stops the agent and all that it started. Returns when they are gone."""
        self._closing = True
        if self._sock is not None:
            self._send(StopAgent())
        if self._process is not None:
            try:
                await asyncio.wait_for(asyncio.to_thread(self._process.wait), _STOP_S)
            except TimeoutError:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
        self._drop_socket()

    def _spawn(self) -> None:
        ours, theirs = wire.socket_pair()
        ours.setblocking(False)
        settings = msgspec.json.encode(self.settings).decode()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, str(theirs.fileno()), str(os.getpid()), settings],
                stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip
        finally:
            theirs.close()
        self.agent_pid = self._process.pid
        self._sock = ours
        self._receiver = wire.Receiver(ours, FromAgent)
        asyncio.get_running_loop().add_reader(ours.fileno(), self._read)

    def _read(self) -> None:
        for _ in range(_MESSAGES_AT_ONCE):
            if self._sock is None:
                return
            try:
                found = self._receiver.receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except (OSError, msgspec.MsgspecError) as error:
                log.error("the agent's words cannot be read", error=str(error))
                found = None
            if found is None:
                self._lost()
                return
            self._handle(found[0])

    def _handle(self, message: Any) -> None:
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

    def _lost(self) -> None:
        """The agent is gone, and with it every process it made. Tell, and start another."""
        self._drop_socket()
        if self._closing:
            return
        code = self._process.wait() if self._process is not None else None
        log.error("the agent is gone; starting another", exit_code=code)
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
                self._lost()

    def _drop_socket(self) -> None:
        if self._sock is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock.fileno())
        loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self._sock = None
        for _, descriptors in self._outbox:
            wire.close_all(descriptors)
        self._outbox.clear()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable("the node's agent is gone"))
        self._waiting.clear()

    def _send(self, message: msgspec.Struct, descriptors: list[int] | None = None) -> None:
        """Sends now, or as soon as the agent reads again. The descriptors are closed once sent."""
        if self._sock is None:
            wire.close_all(descriptors or [])
            return
        self._outbox.append((message, descriptors or []))
        if len(self._outbox) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._outbox and self._sock is not None:
            message, descriptors = self._outbox[0]
            try:
                wire.send(self._sock, message, tuple(descriptors))
            except BlockingIOError:
                asyncio.get_running_loop().add_writer(self._sock.fileno(), self._flush)
                return
            except ValueError as error:
                log.error("a command is too large to send", error=str(error))
                if isinstance(message, Do) and isinstance(message.command, (Build, Climb)):
                    self._refuse(message.command, str(error))
            except OSError:
                return  # its end of file is read next, and that tells everybody
            self._outbox.popleft()
            wire.close_all(descriptors)
        if self._sock is not None:
            asyncio.get_running_loop().remove_writer(self._sock.fileno())

    def _refuse(self, command: Build | Climb, why: str = "the node's agent is being started again") -> None:
        if isinstance(command, Climb):
            target = command.target
        else:
            target = Target("build", command.node, command.spec.version)
        event = CommandFailed(command.id, target, "unavailable", why)
        asyncio.get_running_loop().call_soon(self._emit, event)

    def kill_agent(self) -> None:
        """SIGKILL for the agent: for tests of what happens then."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.agent_pid, signal.SIGKILL)
