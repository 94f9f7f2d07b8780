"""A floor: raw ASGI in front of one worker process, over a unix socket, frames batched per turn of the loop.

A frame is `length, number` (both unsigned, 32 bits, little-endian) and so many bytes. Nothing else of what a
platform does is here: no routing, no deadlines, no second worker, no recovery.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from . import work
from .asgi_raw import body_of, reply, run

_HEAD = struct.Struct("<II")
_READ_BYTES = 2**20


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._rest += data
        start, end = 0, len(self._rest)
        while end - start >= _HEAD.size:
            length, number = _HEAD.unpack_from(self._rest, start)
            if end - start - _HEAD.size < length:
                break
            start += _HEAD.size
            yield number, bytes(memoryview(self._rest)[start : start + length])
            start += length
        del self._rest[:start]


class Worker(asyncio.Protocol):
    """The gateway's end: one write for all frames of a turn."""

    def __init__(self) -> None:
        self._frames = Frames()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._out: list[bytes] = []
        self._number = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for number, content in self._frames.feed(data):
            waiting = self._waiting.pop(number)
            if not waiting.done():
                waiting.set_result(content)

    def connection_lost(self, error: Exception | None) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error or ConnectionError("the worker is gone"))

    def ask(self, body: bytes) -> asyncio.Future[bytes]:
        loop = asyncio.get_running_loop()
        self._number = (self._number + 1) & 0xFFFFFFFF
        answer = self._waiting[self._number] = loop.create_future()
        if not self._out:
            loop.call_soon(self._flush)
        self._out += (_HEAD.pack(len(body), self._number), body)
        return answer

    def _flush(self) -> None:
        out, self._out = self._out, []
        self._transport.write(b"".join(out))


def work_on(sock: socket.socket, answer: Callable[[bytes], Any]) -> None:
    """The worker process: answers all that one read brought with one write."""
    frames = Frames()
    while data := sock.recv(_READ_BYTES):
        out = b""
        for number, body in frames.feed(data):
            content = msgspec.json.encode(answer(body))
            out += _HEAD.pack(len(content), number) + content
        if out:
            sock.sendall(out)


def main() -> None:
    workload, port, _ = work.arguments()
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        if workload == "minilm":
            model = work.model("minilm")
            work_on(theirs, lambda body: model(msgspec.json.decode(body)["text"]))
        elif workload == "tensor":
            work_on(theirs, lambda body: work.summary(work.tensor_of(body)))
        else:
            work_on(theirs, lambda body: work.echo(msgspec.json.decode(body)))
        os._exit(0)
    theirs.close()
    ours.setblocking(False)
    worker = Worker()
    connected = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal connected
        if scope["type"] != "http":
            return
        if not connected:
            connected = True
            await asyncio.get_running_loop().create_unix_connection(lambda: worker, sock=ours)
        await reply(send, await worker.ask(await body_of(receive)))

    run(app, port)


if __name__ == "__main__":
    main()
