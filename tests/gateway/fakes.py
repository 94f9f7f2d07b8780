"""A gateway with everything around it that a test needs: workers in threads, a controller that does what the
test says, a platform that remembers what it was asked, and a real HTTP server on a free port."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import uvloop
from starlette.applications import Starlette

from glowplug.calls.desk import CallDesk
from glowplug.control.leases import LeaseTable
from glowplug.core.commands import Dispatch, Lease, Reject
from glowplug.core.errors import UnknownDevice, UnknownFunction, UnknownRequest, UnknownSecret
from glowplug.core.events import Event, RequestArrived
from glowplug.core.explanation import Explanation
from glowplug.core.ids import CommandId, FunctionId, GatewayId, InstanceId, RequestId
from glowplug.core.ladder import Step
from glowplug.core.settings import CallSettings, GatewaySettings
from glowplug.core.status import (
    DeviceStatus,
    FunctionLoad,
    FunctionStatus,
    LogLine,
    LogQuery,
    PackagesList,
    PackagesStatus,
)
from glowplug.gateway.access_log import Entry
from glowplug.gateway.dispatching import GatewayDispatcher
from glowplug.gateway.flight import FunctionInfo
from glowplug.gateway.front import Front
from glowplug.gateway.http import HttpGateway
from glowplug.gateway.lifecycle import Gateway
from glowplug.gateway.platform import (
    Cache,
    Deployment,
    DeployRequest,
    DeviceFault,
    Direction,
    PlatformInfo,
    PruneRequest,
    Secret,
    SecretName,
)
from glowplug.transport.worker_side import Incoming, WorkerEndpoint
from tests.workers import Handler, serve

GATEWAY = GatewayId("g")
ECHO = FunctionId("echo.default")
WAIT_S = 60.0


def echo(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
    body = bytes(incoming.body)
    endpoint.reply(incoming.request, 200, incoming.content_type, body, {"compute": 1e-6})


class FakeControl:
    """Records events. `on_arrived` says what is done about a request; by default it waits."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.gateway: Gateway
        self.on_arrived: Callable[[RequestArrived], None] = lambda event: None
        self._ids = itertools.count(1)
        self._changed = asyncio.Condition()

    def post(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, RequestArrived):
            self.on_arrived(event)

    async def seen(self, kind: type[Event], count: int = 1) -> list[Event]:
        """Waits until `count` events of `kind` came."""
        while len(found := [e for e in self.events if isinstance(e, kind)]) < count:
            await asyncio.sleep(0)
        return found

    def dispatch(self, request: RequestId, instance: InstanceId) -> None:
        self.dispatch_batch((request,), instance)

    def dispatch_batch(self, requests: tuple[RequestId, ...], instance: InstanceId) -> None:
        self.gateway.on_command(Dispatch(CommandId(next(self._ids)), requests, instance, GATEWAY))

    def reject(self, request: RequestId, code: str, retry_after_s: float | None = None) -> None:
        number = CommandId(next(self._ids))
        self.gateway.on_command(Reject(number, request, GATEWAY, code, f"because {code}", retry_after_s))

    def lend(self, instance: InstanceId, function: FunctionId = ECHO, slots: int = 1) -> None:
        expires_s = time.time() + 2 * WAIT_S
        number = CommandId(next(self._ids))
        self.gateway.on_command(Lease(number, GATEWAY, function, instance, slots, expires_s))


class FakePlatform:
    """Functions in a dict; what was asked is in `asked`."""

    def __init__(self) -> None:
        self.statuses = {ECHO: FunctionStatus(name="echo", namespace="default")}
        self.asked: list[tuple[object, ...]] = []
        self.lines: list[LogLine] = []
        self.held_secrets: dict[tuple[str, str], str] = {}
        self.is_ready = True
        self.installed = PackagesList((PackagesStatus(packages="0a", state="built", size_bytes=7),), 3)

    async def deploy(self, request: DeployRequest, update: bool) -> Deployment:
        self.asked.append(("deploy", request, update))
        return Deployment(request.service, request.namespace, "v1")

    def functions(self) -> list[FunctionStatus]:
        return list(self.statuses.values())

    def function(self, function: FunctionId) -> FunctionStatus:
        if function not in self.statuses:
            raise UnknownFunction(f"no function is called {function}")
        return self.statuses[function]

    def loads(self) -> Iterator[FunctionLoad]:
        for function in self.statuses:
            yield FunctionLoad(function, step="parked", parked=1, worker_bytes=1000)

    async def scale(self, function: FunctionId, replicas: int) -> None:
        self.function(function)
        self.asked.append(("scale", function, replicas))

    async def undeploy(self, function: FunctionId) -> None:
        self.function(function)
        self.asked.append(("undeploy", function))

    async def rollback(self, function: FunctionId, version: str | None) -> None:
        self.asked.append(("rollback", function, version))

    async def move(self, function: FunctionId, direction: Direction, step: Step, cache: Cache | None) -> None:
        self.asked.append((direction, function, step, cache))

    def devices(self) -> list[DeviceStatus]:
        return [DeviceStatus("n/virtual0", "n", 1000, 10, running=1, queued=2)]

    async def disturb(self, wanted: DeviceFault) -> None:
        if wanted.device != "n/virtual0":
            raise UnknownDevice(f"no device {wanted.device}")
        self.asked.append(("disturb", wanted.device, wanted.fault))

    async def explain(self, request: RequestId) -> Explanation:
        if request != 5:
            raise UnknownRequest(f"the journal does not know request {request}")
        return Explanation(request, ECHO, "scheduling lb", 0.0, "answered", 0.5, 1, (), (), ())

    async def packages(self) -> PackagesList:
        return self.installed

    async def prune_packages(self, request: PruneRequest) -> PackagesList:
        self.asked.append(("prune", request.cache))
        return PackagesList(removed=tuple(each.packages for each in self.installed.packages))

    def secrets(self, namespace: str) -> list[str]:
        return sorted(name for where, name in self.held_secrets if where == namespace)

    async def set_secret(self, secret: Secret) -> None:
        self.held_secrets[secret.namespace, secret.name] = secret.value

    async def remove_secret(self, secret: SecretName) -> None:
        if self.held_secrets.pop((secret.namespace, secret.name), None) is None:
            raise UnknownSecret(f"no secret {secret.name}")

    async def receive_upload(self, chunks: AsyncIterator[bytes]) -> str:
        digest = hashlib.sha256()
        async for chunk in chunks:
            digest.update(chunk)
        return digest.hexdigest()

    async def logs(
        self, function: FunctionId, follow: bool, tail: int | None, query: LogQuery
    ) -> AsyncIterator[LogLine]:
        self.asked.append(("logs", function, follow, tail, query))
        for line in self.lines:
            yield line

    def info(self) -> PlatformInfo:
        return PlatformInfo(version="0")

    def ready(self) -> bool:
        return self.is_ready


class House:
    """What `running` gives a test."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.control = FakeControl()
        self.platform = FakePlatform()
        self.functions = {ECHO: FunctionInfo(("main", "other"), timeout_s=WAIT_S)}
        self.gateway = Gateway(
            GATEWAY, settings, leases=LeaseTable(GATEWAY), known=self.functions.get,
            post=self.control.post, clock=time.time,
        )  # fmt: skip
        self.control.gateway = self.gateway
        self.http: httpx.AsyncClient
        self.calls: CallDesk | None = None
        self.admin: Starlette
        self.front: Front
        self.url = ""
        self._threads: list[threading.Thread] = []
        self._instances = itertools.count(1)

    def start_worker(self, handle: Handler = echo, lend: bool = False) -> InstanceId:
        """Attaches a real worker endpoint, in a thread."""
        ours, theirs = socket.socketpair()
        instance = InstanceId(next(self._instances))
        self.gateway.attach(instance, ours)
        thread = threading.Thread(target=serve, args=(theirs, handle), daemon=True)
        thread.start()
        self._threads.append(thread)
        if lend:
            self.control.lend(instance)
        return instance

    def join(self) -> None:
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()


@asynccontextmanager
async def running(
    settings: GatewaySettings | None = None,
    log: Callable[[Entry], None] | None = None,
    calls_in: Path | None = None,
    **changes: object,
) -> AsyncIterator[House]:
    """With a folder `calls_in` it takes spawned calls, and keeps them there."""
    settings = msgspec.structs.replace(
        settings or GatewaySettings(report_every_s=0.01, drain_s=WAIT_S), **changes
    )
    house = House(settings)
    sock = socket.create_server(("127.0.0.1", 0))
    house.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    if calls_in is not None:
        dispatcher = GatewayDispatcher(house.gateway)
        house.calls = CallDesk(calls_in / "calls.db", CallSettings(backoff_s=0.01), dispatcher, time.time)
        await house.calls.start()
    http = HttpGateway(house.gateway, house.platform, house.calls)
    if log is not None:
        http.log_to(log)
    house.admin, house.front = http.admin, http._front
    server = http.server(timeout_graceful_shutdown=1)
    server.install_signal_handlers = lambda: None  # type: ignore[method-assign]
    serving = asyncio.create_task(server._serve([sock]))
    try:
        async with (
            httpx.AsyncClient(base_url=house.url, timeout=WAIT_S, verify=False) as house.http,
            asyncio.timeout(2 * WAIT_S),
        ):
            yield house
    finally:
        if house.calls is not None:
            await house.calls.close(grace_s=0)
        await house.gateway.close()
        server.should_exit = True
        await serving
        sock.close()
        house.join()


def run(scenario: Callable[[House], Awaitable[None]], **changes: object) -> None:
    """A scenario in a house of its own; `changes` are settings."""

    async def whole() -> None:
        async with running(**changes) as house:  # type: ignore[arg-type]
            await scenario(house)

    uvloop.run(whole())
