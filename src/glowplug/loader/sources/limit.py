"""How long a read may wait for a connection, and what it means when that fails."""

from __future__ import annotations

import ssl

from glowplug.loader.clock import Clock
from glowplug.loader.errors import ReadDeadline, SourceError, SourceRefused, SourceUnavailable


class Limit:
    """How long one read may take: until `until_s` in all, and `silence_s` without a byte."""

    def __init__(self, clock: Clock, until_s: float, silence_s: float) -> None:
        self._clock = clock
        self._until_s = until_s
        self._silence_s = silence_s

    def next_s(self) -> float:
        """How long to wait for the next bytes. Raises TimeoutError when there is no time left."""
        left_s = self._until_s - self._clock.now_s()
        if left_s <= 0:
            raise TimeoutError
        return min(left_s, self._silence_s)

    def failure(self, what: str, error: Exception, done_bytes: int = 0) -> SourceError:
        """What an error of the connection means."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return SourceRefused(f"{what}: {error.verify_message}; give a `context` that trusts the server")
        if not isinstance(error, TimeoutError):
            reason = str(error) or type(error).__name__
            return SourceUnavailable(f"{what}: {reason}, after {done_bytes} bytes", done_bytes=done_bytes)
        if self._clock.now_s() >= self._until_s:
            return ReadDeadline(
                f"{what}: only {done_bytes} bytes came in time; allow a longer time, or read less at once",
                done_bytes=done_bytes,
            )
        return SourceUnavailable(
            f"{what}: nothing came for {self._silence_s:g} s, after {done_bytes} bytes", done_bytes=done_bytes
        )
