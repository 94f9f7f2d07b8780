"""The admin interface under /system, in the OpenFaaS schema where that has one."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from glowplug.core.errors import (
    BodyTooLarge,
    GlowplugError,
    InvalidArguments,
    InvalidUpload,
    MethodNotAllowed,
    NotFound,
    UnknownRequest,
)
from glowplug.core.ids import (
    DEFAULT_NAMESPACE,
    FunctionId,
    check_name,
    function_id,
    parse_function_id,
    split_function_id,
)
from glowplug.core.ladder import Step, parse_step
from glowplug.core.status import LogLine
from glowplug.core.units import show_bytes
from glowplug.gateway.answers import error_body, error_headers
from glowplug.gateway.lifecycle import Gateway
from glowplug.gateway.platform import (
    DeployRequest,
    Platform,
    PruneRequest,
    RollbackRequest,
    ScaleRequest,
    Secret,
    SecretName,
    UndeployRequest,
)
from glowplug.gateway.queries import (
    bounded,
    check_secret,
    count,
    function_of,
    log_query,
    read_body,
    request_of,
)
from glowplug.gateway.seeing import seeing_routes


def admin_app(gateway: Gateway, platform: Platform, more: Sequence[Route] = ()) -> Starlette:
    """The ASGI application of everything but functions and health; `more` is served beside it."""
    a = _Admin(gateway, platform)
    one = "/system/functions/{name}"
    return Starlette(
        routes=[
            Route("/system/functions", a.list, methods=["GET"]),
            Route("/system/functions", a.deploy, methods=["POST", "PUT"]),
            Route("/system/functions", a.undeploy_named, methods=["DELETE"]),
            Route(one, a.undeploy, methods=["DELETE"]),
            Route(one, a.describe, methods=["GET"]),
            Route("/system/function/{name}", a.describe, methods=["GET"]),
            Route("/system/scale-function/{name}", a.scale, methods=["POST"]),
            Route(one + "/rollback", a.rollback, methods=["POST"]),
            Route(one + "/{direction}", a.move, methods=["POST"]),
            Route("/system/uploads", a.upload, methods=["PUT"]),
            Route("/system/logs", a.logs, methods=["GET"]),
            Route("/system/traces", a.traces, methods=["GET"]),
            Route("/system/traces/{request}", a.trace, methods=["GET"]),
            Route("/system/environments", a.packages, methods=["GET"]),
            Route("/system/environments/prune", a.prune_packages, methods=["POST"]),
            Route("/system/secrets", a.secrets, methods=["GET"]),
            Route("/system/secrets", a.set_secret, methods=["POST", "PUT"]),
            Route("/system/secrets", a.remove_secret, methods=["DELETE"]),
            Route("/system/info", a.info, methods=["GET"]),
            *seeing_routes(gateway, platform),
            *more,
        ],
        exception_handlers={GlowplugError: _on_error, HTTPException: _on_http_error, Exception: _on_defect},
    )


class _Admin:
    def __init__(self, gateway: Gateway, platform: Platform) -> None:
        self._gateway = gateway
        self._platform = platform

    async def list(self, request: Request) -> Response:
        namespace = request.query_params.get("namespace")
        found = self._platform.functions()
        return _json([f for f in found if namespace is None or f.namespace == namespace])

    async def deploy(self, request: Request) -> Response:
        wanted = await read_body(request, DeployRequest)
        function_id(wanted.service, wanted.namespace)
        return _json(await self._platform.deploy(wanted, update=request.method == "PUT"), 202)

    async def describe(self, request: Request) -> Response:
        return _json(self._platform.function(function_of(request)))

    async def undeploy_named(self, request: Request) -> Response:
        wanted = await read_body(request, UndeployRequest)
        name = wanted.functionName
        await self._undeploy(parse_function_id(name) if "." in name else function_id(name, wanted.namespace))
        return Response(status_code=202)

    async def undeploy(self, request: Request) -> Response:
        await self._undeploy(function_of(request))
        return Response(status_code=202)

    async def _undeploy(self, function: FunctionId) -> None:
        await self._platform.undeploy(function)
        self._gateway.metrics.forget(function)

    async def scale(self, request: Request) -> Response:
        function = function_of(request)
        replicas = (await read_body(request, ScaleRequest)).replicas
        if not 0 <= replicas <= 10_000:
            raise InvalidArguments(f"replicas: {replicas} is not from 0 to 10000", "replicas")
        await self._platform.scale(function, replicas)
        return Response(status_code=202)

    async def rollback(self, request: Request) -> Response:
        function = function_of(request)
        wanted = await read_body(request, RollbackRequest, empty=RollbackRequest())
        await self._platform.rollback(function, request.query_params.get("version", wanted.version))
        return Response(status_code=202)

    async def move(self, request: Request) -> Response:
        """Answers 200 when the function stands at exactly that step: for operators and benchmarks."""
        function, direction = function_of(request), request.path_params["direction"]
        cache = request.query_params.get("cache")
        if direction not in ("climb", "descend"):
            raise HTTPException(404)
        if cache not in (None, "warm", "cold"):
            raise InvalidArguments(f"cache: {cache[:40]!r} is neither 'warm' nor 'cold'", "cache")
        try:
            step = parse_step(request.query_params.get("step", "")[:40])
        except ValueError as error:
            raise InvalidArguments(f"step: {error}", "step") from None
        if not Step.LOCAL <= step <= Step.PARKED:
            raise InvalidArguments(f"step: a function is not moved to {step.label}", "step")
        await self._platform.move(function, direction, step, cache)  # type: ignore[arg-type]
        return _json({"function": function, "step": step.label})

    async def upload(self, request: Request) -> Response:
        """The body is streamed to where it is kept; its sha256 is the upload's id."""
        announced = request.headers.get("content-length", "")
        limit = self._gateway.settings.max_upload_bytes
        if announced.isdecimal() and int(announced) > limit:
            raise BodyTooLarge(f"an upload may have {show_bytes(limit)}")
        try:
            return _json({"upload": await self._platform.receive_upload(bounded(request, limit))}, 201)
        except ClientDisconnect:
            raise InvalidUpload("the upload broke off") from None

    async def logs(self, request: Request) -> Response:
        """One JSON object a line; with `follow` until the client leaves."""
        query = request.query_params
        function = function_of(request, query.get("name", ""))
        self._platform.function(function)
        lines = self._platform.logs(
            function,
            follow=query.get("follow", "").lower() in ("1", "true", "yes"),
            tail=count(query.get("tail"), "tail"),
            query=log_query(query, time.time()),
        )
        return StreamingResponse(_log_lines(lines), media_type="application/x-ndjson")

    async def traces(self, request: Request) -> Response:
        limit = count(request.query_params.get("limit"), "limit")
        named = request.query_params.get("function")
        function = None if named is None else function_of(request, named)
        return _json(self._gateway.traces.recent(function, 100 if limit is None else limit))

    async def trace(self, request: Request) -> Response:
        number = request_of(request)
        found = self._gateway.traces.find(number)
        if found is None:
            kept = self._gateway.settings.traces_kept
            raise UnknownRequest(f"request {number} is not among the last {kept}")
        return _json(found)

    async def packages(self, request: Request) -> Response:
        return _json(await self._platform.packages())

    async def prune_packages(self, request: Request) -> Response:
        wanted = await read_body(request, PruneRequest, empty=PruneRequest())
        return _json(await self._platform.prune_packages(wanted))

    async def secrets(self, request: Request) -> Response:
        namespace = check_name(request.query_params.get("namespace", DEFAULT_NAMESPACE), "namespace")
        return _json([SecretName(name, namespace) for name in self._platform.secrets(namespace)])

    async def set_secret(self, request: Request) -> Response:
        secret = await read_body(request, Secret)
        check_secret(secret)
        await self._platform.set_secret(secret)
        return Response(status_code=201)

    async def remove_secret(self, request: Request) -> Response:
        secret = await read_body(request, SecretName)
        check_secret(secret)
        await self._platform.remove_secret(secret)
        return Response(status_code=202)

    async def info(self, request: Request) -> Response:
        return _json(self._platform.info())


async def _log_lines(lines: AsyncIterator[LogLine]) -> AsyncIterator[bytes]:
    async for line in lines:
        name, namespace = split_function_id(FunctionId(line.function))
        moment = datetime.fromtimestamp(line.at_s, UTC).isoformat().replace("+00:00", "Z")
        yield msgspec.json.encode(
            {"name": name, "namespace": namespace, "instance": str(line.instance), "timestamp": moment,
             "at_s": line.at_s, "stream": line.stream, "text": line.text}
        ) + b"\n"  # fmt: skip


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GlowplugError)
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    return Response(error_body(error), error.status, headers, media_type="application/json")


async def _on_defect(request: Request, error: Exception) -> Response:
    """Our own mistake: the caller learns no more than that; the server's log gets the traceback."""
    found = GlowplugError("the server made a mistake; its log says which")
    return Response(error_body(found), found.status, media_type="application/json")


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = (MethodNotAllowed if error.status_code == 405 else NotFound).code
    path = request.url.path[:100]
    said = f"{request.method} {path}: {error.detail}; what there is stands at /docs"
    facts = {"error": {"code": code, "message": said}}
    return Response(
        msgspec.json.encode(facts), error.status_code, error.headers, media_type="application/json"
    )
