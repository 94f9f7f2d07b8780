"""Reading a request's body, bounded in bytes, in time and over all requests."""

from __future__ import annotations

import asyncio

from glowplug.core.errors import BodyTooLarge, DeadlinePassed, Overloaded
from glowplug.core.units import show_bytes
from glowplug.gateway.answers import Receive

_DISCARD_S = 5.0
_DISCARD_BYTES = 64 * 2**20
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

        Raises BodyTooLarge, Overloaded when all bodies together are too much, DeadlinePassed, ClientLeft.
        """
        if announced_bytes is not None:
            self._check(announced_bytes, announced_bytes)
        chunks: list[bytes] = []
        length = 0
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
                        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        except BaseException as error:
            self.release(length)
            if isinstance(error, TimeoutError):
                raise DeadlinePassed(f"the body did not arrive within {timeout_s:g} s") from None
            raise

    def _check(self, length: int, more: int) -> None:
        if length > self._max_body_bytes:
            raise BodyTooLarge(f"a body may have {show_bytes(self._max_body_bytes)} on this server")
        if self.buffered_bytes + more > self._max_buffered_bytes:
            raise Overloaded("the bodies of the requests in flight fill the memory set aside for them", 1.0)

    def release(self, length: int) -> None:
        self.buffered_bytes -= length

    async def discard(self, receive: Receive) -> None:
        """Reads what is left of a body that is not wanted, bounded in bytes and time."""
        left = _DISCARD_BYTES
        try:
            async with asyncio.timeout(_DISCARD_S):
                while left > 0:
                    message = await receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return
