"""`/system/calls`: what became of spawned calls, their results, and what an operator does about them."""

from __future__ import annotations

from typing import cast, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from glowplug.calls.desk import CallDesk
from glowplug.calls.reading import unknown_call
from glowplug.core.calls import DEAD_LETTERS, ENDED, CallId, CallState
from glowplug.core.errors import InvalidArguments, from_code
from glowplug.gateway.answers import error_body
from glowplug.gateway.queries import count, function_of, read_body

_LISTED = 100
_MOST_LISTED = 1000


class RetryRequest(msgspec.Struct, frozen=True):
    """`lost` says that a call that may have run may run again."""

    lost: bool = False


def call_routes(calls: CallDesk) -> list[Route]:
    c = _Calls(calls)
    return [
        Route("/system/calls", c.list, methods=["GET"]),
        Route("/system/calls/{call}", c.show, methods=["GET"]),
        Route("/system/calls/{call}", c.cancel, methods=["DELETE"]),
        Route("/system/calls/{call}/result", c.result, methods=["GET"]),
        Route("/system/calls/{call}/retry", c.retry, methods=["POST"]),
    ]


class _Calls:
    def __init__(self, calls: CallDesk) -> None:
        self._calls = calls

    async def list(self, request: Request) -> Response:
        """The newest first; `before` is the id of the last one that was seen."""
        query = request.query_params
        named = query.get("function")
        limit = count(query.get("limit"), "limit")
        found = await self._calls.list(
            None if named is None else function_of(request, named),
            _states(query.get("state")),
            query.get("before"),
            _LISTED if limit is None else min(limit, _MOST_LISTED),
        )
        return _json(found)

    async def show(self, request: Request) -> Response:
        return _json(await self._calls.find(_id(request), _wait(request)))

    async def result(self, request: Request) -> Response:
        """The answer as the function gave it, its error, or 202 while there is neither."""
        call = await self._calls.find(_id(request), _wait(request))
        headers = {"x-call-id": call.id, "x-call-state": call.state, "x-function-name": call.function}
        if call.state not in ENDED:
            return _json(call, 202, {**headers, "retry-after": "1"})
        if call.error is not None:
            body = error_body(from_code(call.error.code, call.error.message))
            status = call.error.status if 400 <= call.error.status <= 599 else 500
            return Response(body, status, headers, media_type="application/json")
        result = await self._calls.result(call.id)
        if result is None:
            raise unknown_call(call.id)
        return Response(result, 200, {**headers, "content-type": call.result_type})

    async def cancel(self, request: Request) -> Response:
        return _json(await self._calls.cancel(_id(request)))

    async def retry(self, request: Request) -> Response:
        wanted = await read_body(request, RetryRequest, empty=RetryRequest())
        return _json(await self._calls.retry(_id(request), wanted.lost), 202)


def _id(request: Request) -> CallId:
    return CallId(request.path_params["call"])


def _states(text: str | None) -> frozenset[CallState]:
    if text is None:
        return frozenset()
    if text == "dead-letter":
        return DEAD_LETTERS
    if text not in get_args(CallState):
        known = ", ".join(get_args(CallState))
        raise InvalidArguments(f"state: {text[:40]!r} is none of {known}, dead-letter", "state")
    return frozenset({cast(CallState, text)})


def _wait(request: Request) -> float:
    text = request.query_params.get("wait", "0")
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = -1.0
    if not 0 <= wait_s < 1e6:
        raise InvalidArguments(f"wait: {text[:40]!r} is not a number of seconds", "wait")
    return wait_s


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")
