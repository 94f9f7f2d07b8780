"""Reading a request's body, bounded in bytes, in time and over all requests."""

from __future__ import annotations

import asyncio

from glowplug.core.errors import BodyTooLarge, DeadlinePassed, Overloaded
from glowplug.core.units import show_bytes
from glowplug.gateway.answers import Receive

_DISCARD_S = 5.0
_BODIES_AT_ONCE = 16


class ClientLeft(Exception):
    """The connection closed before the body was complete."""


class BodyReader:
    """`buffered_bytes` counts bodies from their first byte until `release`."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_buffered_bytes = max_body_bytes * _BODIES_AT_ONCE
        self.buffered_bytes = 0

    async def read(self, receive: Receive, announced_bytes: int | None, timeout_s: float) -> bytes:
        """The whole body, to be given back with `release`.

        Raises BodyTooLarge, Overloaded when the bodies of all requests are too much, DeadlinePassed, ClientLeft.
        """
        if announced_bytes is not None:
            self._check(announced_bytes)
        message = await receive() if announced_bytes == 0 else await asyncio.wait_for(receive(), timeout_s)
        if message["type"] == "http.disconnect":
            raise ClientLeft
        body: bytes = message.get("body", b"")
        self._check(len(body))
        if not message.get("more_body", False):
            self.buffered_bytes += len(body)
            return body
        return await self._read_rest(receive, body, timeout_s)

    async def _read_rest(self, receive: Receive, first: bytes, timeout_s: float) -> bytes:
        chunks, length = [first], len(first)
        self.buffered_bytes += length
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientLeft
                    chunk: bytes = message.get("body", b"")
                    self._check(length + len(chunk), len(chunk))
                    chunks.append(chunk)
                    length += len(chunk)
                    self.buffered_bytes += len(chunk)
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            self.release(length)
            raise DeadlinePassed(f"the body did not arrive within {timeout_s:g} s") from None
        except BaseException:
            self.release(length)
            raise

    def _check(self, length: int, more: int | None = None) -> None:
        if length > self._max_body_bytes:
            raise BodyTooLarge(f"the body exceeds the {show_bytes(self._max_body_bytes)} that this server takes")
        if self.buffered_bytes + (length if more is None else more) > self._max_buffered_bytes:
            raise Overloaded("the bodies of the requests in flight fill the memory set aside for them", 1.0)

    def release(self, length: int) -> None:
        self.buffered_bytes -= length

    async def discard(self, receive: Receive) -> None:
        """Reads on for a while after a refusal: a client that still writes when the connection closes would
        see it reset, and never the answer."""
        left = self._max_body_bytes
        try:
            async with asyncio.timeout(_DISCARD_S):
                while left > 0:
                    message = await receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return
