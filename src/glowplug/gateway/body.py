"""Bodies in memory, bounded one by one and all together."""

from __future__ import annotations

from glowplug.core.errors import BodyTooLarge, Overloaded
from glowplug.core.units import show_bytes
from glowplug.transport.connection import Body
from glowplug.transport.lent_regions import Slot

_BODIES_AT_ONCE = 16
_CHUNKS, _SMALL_BYTES = 64, 4096
"""After so many chunks small ones are joined: a body that comes byte by byte takes little more than that."""
_JOINED_BYTES = 64 * 1024


class BodyBudget:
    """`held_bytes` counts bodies from their first byte until `release`."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_held_bytes = max_body_bytes * _BODIES_AT_ONCE
        self.held_bytes = 0

    def check(self, length: int) -> None:
        """Raises BodyTooLarge for a body of so many bytes, Overloaded while there is no room for it."""
        self._check(length, length)

    def hold(self, length: int, more: int) -> None:
        """A body has grown by `more` bytes to `length`. Raises as `check`, and then counts nothing."""
        self._check(length, more)
        self.held_bytes += more

    def _check(self, length: int, more: int) -> None:
        if length > self._max_body_bytes:
            raise BodyTooLarge(f"a body may have {show_bytes(self._max_body_bytes)} on this server")
        if self.held_bytes + more > self._max_held_bytes:
            raise Overloaded("the bodies of the requests in flight fill the memory set aside for them", 1.0)

    def release(self, length: int) -> None:
        self.held_bytes -= length


class ReceivedBody:
    """What has come of one request's body: `length` bytes, in chunks or where its worker will read it."""

    length = held_bytes = 0
    place: Slot | None = None

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.chunks: list[bytes | bytearray] = []

    def keep(self, data: bytes) -> None:
        chunks = self.chunks
        if len(chunks) < _CHUNKS or len(data) > _SMALL_BYTES:
            chunks.append(data)
        elif type(chunks[-1]) is bytearray and len(chunks[-1]) < _JOINED_BYTES:
            chunks[-1] += data
        else:
            chunks.append(bytearray(data))

    def hold(self) -> None:
        """Counts what has come. Raises as BodyBudget.hold."""
        self._budget.hold(self.length, self.length - self.held_bytes)
        self.held_bytes = self.length

    def read_to(self, place: Slot) -> None:
        """The whole body comes to `place`, and what came already lies there now."""
        self.place = place
        at = 0
        for chunk in self.chunks:
            place.view[at : at + len(chunk)] = chunk
            at += len(chunk)
        self.chunks = []

    def taken(self) -> Body:
        """The body, which is whole."""
        if self.place is not None:
            return self.place
        pieces, self.chunks = self.chunks, []
        chunks = [piece if type(piece) is bytes else bytes(piece) for piece in pieces]
        return chunks if len(chunks) > 1 else chunks[0] if chunks else b""

    def let_go(self) -> None:
        """Releases the body: nothing of it is needed here any more."""
        if self.place is not None:
            self.place.release()
            self.place = None
        self._budget.release(self.held_bytes)
        self.held_bytes = 0
