"""What there is to see of a server: metrics, load, its description, and a page that shows that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from glowplug.core.errors import UnknownRequest
from glowplug.core.status import FunctionStatus, Load
from glowplug.gateway.exposition import CONTENT_TYPE, bounded, exposition
from glowplug.gateway.lifecycle import Gateway
from glowplug.gateway.metrics import LABELLED_FUNCTIONS
from glowplug.gateway.openapi import document
from glowplug.gateway.platform import DeviceFault, Platform
from glowplug.gateway.queries import function_of, read_body, request_of

_PAGE = Path(__file__).with_name("docs.html")
_PAGE_MAY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page is this server's own and shows what others wrote as text; it loads and tells nothing elsewhere."""


def seeing_routes(gateway: Gateway, platform: Platform) -> list[Route]:
    a = _Seeing(gateway, platform)
    return [
        Route("/system/load", a.load, methods=["GET"]),
        Route("/system/devices", a.devices, methods=["GET"]),
        Route("/system/devices", a.disturb, methods=["POST"]),
        Route("/system/explain/{request}", a.explain, methods=["GET"]),
        Route("/metrics", a.metrics, methods=["GET"]),
        Route("/openapi.json", a.openapi, methods=["GET"]),
        Route("/docs", a.docs, methods=["GET"]),
    ]


class _Seeing:
    def __init__(self, gateway: Gateway, platform: Platform) -> None:
        self._gateway = gateway
        self._platform = platform
        self._described: tuple[list[str], bytes] = ([], b"")

    async def load(self, request: Request) -> Response:
        loads = tuple(self._platform.loads())
        traffic = {load.function: self._gateway.metrics.traffic(load.function) for load in loads}
        known = {function: found for function, found in traffic.items() if found is not None}
        nodes, devices = self._platform.info().nodes, tuple(self._platform.devices())
        gateways = 1 + len(self._gateway.beside())
        found = Load(self._gateway.clock(), loads, known, nodes, devices, gateways)
        return Response(msgspec.json.encode(found), media_type="application/json")

    async def devices(self, request: Request) -> Response:
        return Response(msgspec.json.encode(self._platform.devices()), media_type="application/json")

    async def disturb(self, request: Request) -> Response:
        """Answers when what was asked for has happened."""
        await self._platform.disturb(await read_body(request, DeviceFault))
        return Response(status_code=202)

    async def explain(self, request: Request) -> Response:
        number = request_of(request)
        try:
            found = await self._platform.explain(number)
        except UnknownRequest:
            trace = self._gateway.traces.find(number)
            if trace is None:
                raise
            raise UnknownRequest(
                f"request {number} was sent to worker {trace.instance} of {trace.function} under a lease, "
                "without a decision"
            ) from None
        return Response(msgspec.json.encode(found), media_type="application/json")

    async def metrics(self, request: Request) -> Response:
        loads = bounded(self._platform.loads(), LABELLED_FUNCTIONS)
        info, devices = self._platform.info(), self._platform.devices()
        blocks = exposition(
            self._gateway.metrics, loads, info.nodes, devices, self._gateway.gauges(), info.preload
        )
        return StreamingResponse(_in_turns(blocks), media_type=CONTENT_TYPE)

    async def openapi(self, request: Request) -> Response:
        """Made again when another version is deployed."""
        name = request.query_params.get("function")
        if name is not None:
            functions = [self._platform.function(function_of(request, name))]
            return Response(await self._document(functions), media_type="application/json")
        functions = self._platform.functions()
        versions = [f"{function.name}.{function.namespace}/{function.version}" for function in functions]
        if versions != self._described[0] or not self._described[1]:
            self._described = versions, await self._document(functions)
        return Response(self._described[1], media_type="application/json")

    async def _document(self, functions: list[FunctionStatus]) -> bytes:
        """In a thread: of a thousand functions it takes a tenth of a second."""
        version, wants_token = self._platform.info().version, self._gateway.settings.token is not None

        def made() -> bytes:
            return msgspec.json.encode(document(functions, version, wants_token))

        return await asyncio.to_thread(made)

    async def docs(self, request: Request) -> Response:
        """Open to everybody: it holds nothing, and asks for the token to show something."""
        page = await asyncio.to_thread(_PAGE.read_bytes)
        return Response(page, media_type="text/html", headers={"content-security-policy": _PAGE_MAY})


async def _in_turns(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Between two blocks, others have their turn in the event loop."""
    for block in blocks:
        yield block
        await asyncio.sleep(0)
