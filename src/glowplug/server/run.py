"""Runs the server: one process with a gateway and the controller, its node's agent beside it, and perhaps
other gateways."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvicorn

from glowplug.bundle.trees import remove_tree
from glowplug.compose import System
from glowplug.core.errors import GlowplugError, InvalidArguments, Unavailable
from glowplug.core.settings import CallSettings, ControlSettings, GatewaySettings, NodeSettings
from glowplug.gateway.access_log import Entry, Lines
from glowplug.server.line_writer import LineWriter
from glowplug.server.open_files import raise_open_files

log = structlog.get_logger("glowplug.server")
_BACKLOG = 2048
_PROBE_AFTER_S = 60
_RUN_DIR = "glowplug-run-"
_LOCAL = "127.0.0.1"


class ServerOptions(msgspec.Struct, frozen=True):
    """What `glowplug serve` was asked for."""

    control: ControlSettings
    gateway: GatewaySettings
    node: NodeSettings
    calls: CallSettings = CallSettings()
    journal: bool = True
    gateways: int = 1
    """Processes that answer requests for functions, the server's own among them."""
    access_log: str = ""
    """A path, `-` for standard output, or none."""


def bind(host: str, port: int, shared: bool = False) -> socket.socket:
    """A listening socket, which a `shared` port's others may stand beside. Raises Unavailable when the port
    is taken or not ours to bind."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Accepted sockets inherit these: a client whose machine is gone is noticed, whatever it was doing.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_AFTER_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_AFTER_S // 4)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    try:
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        why = error.strerror or str(error)
        raise Unavailable(
            f"cannot listen on {host}:{port}: {why}; choose another with --port, or 0 for any"
        ) from error
    return sock


def bind_several(host: str, port: int, count: int) -> list[socket.socket]:
    """So many listening sockets on one port: the kernel gives each connection to one of them. Raises
    Unavailable as bind does; then none is left open."""
    if count == 1:
        return [bind(host, port)]
    with bind(host, port) as first:  # a port that may be shared is taken by nobody else
        port = first.getsockname()[1]
    with contextlib.ExitStack() as opened:
        found = [opened.enter_context(bind(host, port, shared=True)) for _ in range(count)]
        opened.pop_all()
    return found


def lock_state(state_dir: Path) -> int:
    """Holds the state folder for this process. Raises Unavailable when another server has it, or none can."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(
            f"the state folder {state_dir} cannot be used: {error.strerror}; choose another with --state-dir"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise Unavailable(
            f"another server uses {state_dir}; stop it, or choose another with --state-dir"
        ) from None
    return descriptor


def fresh_run_dir(lock: int) -> Path:
    """A new folder for scratch. The lock file remembers it, so that the next start can remove what a server
    that was killed left behind."""
    former = Path(os.fsdecode(os.pread(lock, 4096, 0)))
    if former.name.startswith(_RUN_DIR):
        remove_tree(former)
    fresh = Path(tempfile.mkdtemp(prefix=_RUN_DIR))
    fresh.chmod(0o711)
    os.ftruncate(lock, 0)
    with contextlib.suppress(OSError):  # without space it is not remembered, and that is all
        os.pwrite(lock, os.fsencode(fresh), 0)
    return fresh


async def serve(options: ServerOptions, on_ready: Callable[[str, System], Awaitable[None]]) -> int:
    """Serves until SIGTERM or SIGINT, drains, and returns the exit status.

    `on_ready(url, system)` runs as a task once requests are answered; its error ends the server.
    Raises GlowplugError when it cannot start; nothing is left behind then.
    """
    connections = min(options.gateway.max_connections, raise_open_files())
    gateway = msgspec.structs.replace(options.gateway, max_connections=connections)
    if gateway.host not in ("127.0.0.1", "::1", "localhost") and not gateway.token:
        raise InvalidArguments(
            f"listening on {gateway.host} lets others deploy code here: "
            "give a token with --token or GLOWPLUG_TOKEN",
            "token",
        )
    with contextlib.ExitStack() as cleanup:
        lock = lock_state(Path(options.node.state_dir))
        cleanup.callback(os.close, lock)
        listeners = bind_several(gateway.host, gateway.port, options.gateways)
        for sock in listeners:
            cleanup.callback(sock.close)
        run_dir = fresh_run_dir(lock)
        cleanup.callback(remove_tree, run_dir)
        node = msgspec.structs.replace(options.node, run_dir=str(run_dir))
        stop = asyncio.Event()
        failures: list[BaseException] = []

        def fatal(error: BaseException) -> None:
            failures.append(error)
            stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _end, number, stop)
        try:
            system = System(
                options.control, gateway, node, options.calls, fatal, options.journal, options.gateways
            )
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the state in {node.state_dir} cannot be opened: {error}") from error
        if options.access_log:
            lines = Lines(system.platform.deployments.known)
            access_log = LineWriter(options.access_log, lines.line, lines.lost)
            cleanup.callback(access_log.close)
            system.http.log_to(access_log.put)
            if options.access_log != "-":
                loop.add_signal_handler(signal.SIGHUP, _reopen, access_log, system)
        try:
            await _start(system, node.state_dir)
            await _listen(system, listeners, stop, on_ready, fatal, options.access_log)
        finally:
            await system.close()
        for failure in failures:
            if isinstance(failure, GlowplugError):
                raise failure
            log.error("the server ends because of an error", exc_info=failure)
        return 1 if failures else 0


async def _start(system: System, state_dir: str) -> None:
    try:
        await system.start()
    except sqlite3.Error as error:
        raise Unavailable(f"the state in {state_dir} cannot be read: {error}") from error


def _reopen(access_log: LineWriter[Entry], system: System) -> None:
    access_log.reopen()
    if system.group is not None:
        system.group.reopen_log()


def _end(number: signal.Signals, stop: asyncio.Event) -> None:
    log.info("stopping", signal=number.name)
    stop.set()


async def _listen(
    system: System,
    listeners: list[socket.socket],
    stop: asyncio.Event,
    on_ready: Callable[[str, System], Awaitable[None]],
    fatal: Callable[[BaseException], None],
    access_log: str,
) -> None:
    server = system.http.server(loop="none", timeout_graceful_shutdown=5)
    own, others = listeners[:1], listeners[1:]
    if others:
        own.append(bind(_LOCAL, 0))  # for what they do not answer themselves
        system.http.take_from_gateways(own[1].getsockname())
    serving = asyncio.create_task(server.serve(sockets=own))
    if system.group is not None:
        await system.group.start(others, own[1].getsockname(), access_log, partial(_accept, server))
    host, port = own[0].getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    ready = asyncio.create_task(_guard(on_ready(f"http://{shown}:{port}", system), fatal))
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    system.logs.end_followers()
    system.calls.stop()
    if not await system.drain():
        log.warning("requests were still running when the time to drain was over")
    server.should_exit = True
    await serving
    waiting.cancel()


async def _accept(server: uvicorn.Server, listener: socket.socket) -> asyncio.Server:
    """As the server does at its own sockets."""
    kind: Any = server.config.http_protocol_class
    protocol = partial(
        kind, config=server.config, server_state=server.server_state, app_state=server.lifespan.state
    )
    loop = asyncio.get_running_loop()
    return await loop.create_server(protocol, sock=listener.dup(), backlog=_BACKLOG)


async def _guard(work: Awaitable[None], fatal: Callable[[BaseException], None]) -> None:
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        fatal(error)
