"""Clients that send exactly what they are told, and what has to hold after them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import uvloop

from .fakes import House, running

HEAD = b"POST /function/echo HTTP/1.1\r\nHost: localhost\r\n"
GOOD = HEAD + b"Content-Length: 2\r\n\r\nok"


def run(scenario: Callable[[House], Awaitable[None]], **changes: object) -> None:
    """Whatever a scenario did, the next client is answered, and no connection or task is left."""

    async def whole() -> None:
        async with running(**changes) as house:  # type: ignore[arg-type]
            worker = house.start_worker(lend=True)
            house.control.on_arrived = lambda event: house.control.dispatch(event.request, worker)
            await house.http.get("/livez")
            tasks = len(asyncio.all_tasks())
            await scenario(house)
            assert (await house.http.post("/function/echo", content=b"still")).content == b"still"
            while house.gateway.connected > 1 or len(asyncio.all_tasks()) > tasks:
                await asyncio.sleep(0.005)
            assert house.gateway.active == 0
            assert len(house.gateway.deadlines) == 0

    uvloop.run(whole())


class Raw:
    """A client that sends exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, house: House) -> Raw:
        return cls(*await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1])))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, bytes]:
        """The next answer's status and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), b":0"
        )
        return int(head.split()[1]), await self.reader.readexactly(int(length.partition(b":")[2]))

    async def closed(self) -> bytes:
        """What still comes until the connection closes."""
        found = b""
        try:
            while data := await self.reader.read(65536):
                found += data
        except ConnectionResetError:
            pass
        self.writer.close()
        return found


def code(body: bytes) -> str:
    return json.loads(body)["error"]["code"]  # type: ignore[no-any-return]
