"""Bodies in memory, bounded one by one and all together."""

from __future__ import annotations

from glowplug.core.errors import BodyTooLarge, Overloaded
from glowplug.core.units import show_bytes

_BODIES_AT_ONCE = 16


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
        """A body has grown by `more` bytes to `length`. Raises as `check`; nothing is held then."""
        self._check(length, more)
        self.held_bytes += more

    def _check(self, length: int, more: int) -> None:
        if length > self._max_body_bytes:
            raise BodyTooLarge(f"a body may have {show_bytes(self._max_body_bytes)} on this server")
        if self.held_bytes + more > self._max_held_bytes:
            raise Overloaded("the bodies of the requests in flight fill the memory set aside for them", 1.0)

    def release(self, length: int) -> None:
        self.held_bytes -= length
