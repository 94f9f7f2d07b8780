"""HTTP: what a server runs. Functions are answered by protocol.py; this is the ASGI application of the
rest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn

from glowplug.calls.desk import CallDesk
from glowplug.core.errors import Unauthorized, Unavailable
from glowplug.gateway.access import Address
from glowplug.gateway.access_log import AccessLogged, Application, Entry
from glowplug.gateway.admin import admin_app
from glowplug.gateway.answers import Receive, Scope, Send, send_answer, send_error
from glowplug.gateway.calls import call_routes
from glowplug.gateway.front import Front
from glowplug.gateway.lifecycle import Gateway
from glowplug.gateway.platform import Platform
from glowplug.gateway.protocol import FunctionProtocol
from glowplug.gateway.spawn import SpawnGateway
from glowplug.gateway.target import ASYNC_PREFIX


def http_server(application: Application, protocol: Any, **options: Any) -> uvicorn.Server:
    """A uvicorn server of an application, which `protocol` has its own ways past; it takes no signals.
    `options` are uvicorn's."""
    config = uvicorn.Config(
        application, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, date_header=False, **options,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    return server


class HttpGateway:
    """Health is answered here; what is left goes to the admin interface."""

    def __init__(self, gateway: Gateway, platform: Platform, calls: CallDesk | None = None) -> None:
        """Without `calls` nothing can be spawned here."""
        self._gateway = gateway
        self._platform = platform
        self._front = Front(gateway)
        self.admin = admin_app(gateway, platform, [] if calls is None else call_routes(calls))
        self._spawn = self.admin if calls is None else SpawnGateway(gateway, self._front.bodies, calls)
        if calls is not None:
            gateway.more_gauges = calls.gauges
        self._application: Application = self

    def log_to(self, put: Callable[[Entry], None]) -> None:
        """An entry for every request, from now on. Called before `server`."""
        self._front.access_log = put
        self._application = AccessLogged(self, put)

    def take_from_gateways(self, at: Address) -> None:
        """What other gateways of this server forward comes to the address `at`."""
        self._front.access.gateways_at = at

    def server(self, **options: Any) -> uvicorn.Server:
        """A server of this application and of the functions: see http_server."""
        return http_server(self._application, partial(FunctionProtocol, self._front), **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        try:
            self._front.access.check(path, scope["headers"], scope["server"])
        except Unauthorized as error:
            await send_error(send, error)
            return
        if path.startswith(ASYNC_PREFIX):
            await self._spawn(scope, receive, send)
        elif path in ("/livez", "/healthz", "/readyz"):
            await self._health(path, send)
        else:
            await self.admin(scope, receive, send)

    async def _health(self, path: str, send: Send) -> None:
        """Alive is whoever answers; ready is who takes requests."""
        if path != "/livez" and (self._gateway.draining or not self._platform.ready()):
            why = "shutting down" if self._gateway.draining else "starting"
            await send_error(send, Unavailable(f"the server is {why}", 1.0))
            return
        await send_answer(send, 200, "text/plain", b"ok", [])
