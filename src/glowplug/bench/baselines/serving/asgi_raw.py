"""A floor: an ASGI application without any framework, on uvicorn with uvloop and httptools."""

from __future__ import annotations

from typing import Any

import msgspec
import uvicorn

from . import work

_HEADERS = [(b"content-type", b"application/json")]


async def body_of(receive: Any) -> bytes:
    """The whole body, copied only when it came in pieces."""
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def reply(send: Any, content: bytes) -> None:
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, length]})
    await send({"type": "http.response.body", "body": content})


def run(app: Any, port: int) -> None:
    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", log_level="warning",
        access_log=False,
    )  # fmt: skip


def main() -> None:
    workload, port, _ = work.arguments()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await body_of(receive)
        answer = (
            work.echo(msgspec.json.decode(body)) if workload == "echo" else work.summary(work.tensor_of(body))
        )
        await reply(send, msgspec.json.encode(answer))

    run(app, port)


if __name__ == "__main__":
    main()
