"""A floor: starlette on uvicorn with uvloop and httptools."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from . import work
from .asgi_raw import run


async def echo(request: Request) -> JSONResponse:
    return JSONResponse(work.echo(await request.json()))


async def tensor(request: Request) -> JSONResponse:
    return JSONResponse(work.summary(work.tensor_of(await request.body())))


def main() -> None:
    workload, port, _ = work.arguments()
    run(Starlette(routes=[Route("/", {"echo": echo, "tensor": tensor}[workload], methods=["POST"])]), port)


if __name__ == "__main__":
    main()
