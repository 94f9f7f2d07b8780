"""Reads that survive what passes: any source, tried again from where it stopped."""

from __future__ import annotations

import random
from collections.abc import Callable

from glowplug.loader.clock import Clock, RealClock
from glowplug.loader.errors import ReadDeadline, SourceError
from glowplug.loader.sources.base import BoundedSource, WeightSource, target
from glowplug.loader.sources.retrying import Retry

_MOST_OF_IT = 0.5
"""Of an attempt's time: who fails later was slow, who fails sooner was refused."""
_LEAST_BYTES = 256 * 2**10


class ResumingSource:
    """`inner`, read again after failures that may pass, as `retry` allows.

    An attempt goes on after the bytes that the one before it got, where its error tells (`done_bytes`), else
    from the beginning. One that got nothing in most of its time is followed by reads of half the bytes, which
    a slow line brings in time, and none of which is read twice. A stalled read is given up where `inner` can
    do that (`BoundedSource`); a read of another source ends when it ends. Raises what `inner` does, and
    SourceUnavailable after the last attempt, ReadDeadline when there is no time for one.
    """

    def __init__(
        self,
        inner: WeightSource,
        retry: Retry | None = None,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.name = inner.name
        self.size = inner.size
        self.advice = inner.advice
        self._inner = inner
        self._retry = retry or Retry()
        self._clock = clock or RealClock()
        self._rng = rng or random.Random()
        self._read = inner.read_within if isinstance(inner, BoundedSource) else None

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        view = target(buffer, length)
        done, piece_bytes = 0, length

        def attempt(within_s: float) -> None:
            nonlocal done, piece_bytes
            until_s = self._clock.now_s() + within_s
            while True:
                began_s, nbytes = self._clock.now_s(), min(piece_bytes, length - done)
                try:
                    self._read_piece(view[done : done + nbytes], offset + done, nbytes, until_s - began_s)
                except SourceError as error:
                    done += error.done_bytes
                    if not error.done_bytes and self._clock.now_s() - began_s >= within_s * _MOST_OF_IT:
                        piece_bytes = max(_LEAST_BYTES, nbytes // 2)
                    raise
                done += nbytes
                if done >= length:
                    return

        what = f"{self.name}: reading {length} bytes at {offset}"
        self._retry.run(what, attempt, self._clock, self._rng)

    def _read_piece(self, view: memoryview, offset: int, length: int, within_s: float) -> None:
        if self._read is None:
            self._inner.read_into(view, offset, length)
        elif within_s > 0:
            self._read(view, offset, length, within_s)
        else:
            raise ReadDeadline(f"{self.name}: no time is left for {length} bytes at {offset}")

    def close(self) -> None:
        self._inner.close()


def open_resuming(
    name: str,
    opener: Callable[[float], WeightSource],
    retry: Retry | None = None,
    *,
    clock: Clock | None = None,
    rng: random.Random | None = None,
) -> ResumingSource:
    """Opens a source, which `opener` does within the seconds it is told, and tries again as for reads."""
    retry, clock, rng = retry or Retry(), clock or RealClock(), rng or random.Random()
    return ResumingSource(retry.run(f"{name}: opening", opener, clock, rng), retry, clock=clock, rng=rng)
