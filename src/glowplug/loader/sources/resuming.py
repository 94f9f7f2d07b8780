"""Reads that survive what passes: any source, tried again from where it stopped."""

from __future__ import annotations

import random
from collections.abc import Callable

from glowplug.loader.clock import Clock, RealClock
from glowplug.loader.errors import SourceError
from glowplug.loader.sources.base import BoundedSource, WeightSource, target
from glowplug.loader.sources.retrying import Retry


class ResumingSource:
    """`inner`, read again after failures that may pass, as `retry` allows.

    An attempt goes on after the bytes that the one before it got, where its error tells (`done_bytes`), else
    from the beginning. A stalled read is given up where `inner` can do that (`BoundedSource`); a read of
    another source ends when it ends. Raises what `inner` does, and SourceUnavailable after the last
    attempt, ReadDeadline when there is no time for one.
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
        done = 0

        def attempt(within_s: float) -> None:
            nonlocal done
            try:
                if self._read is not None:
                    self._read(view[done:], offset + done, length - done, within_s)
                else:
                    self._inner.read_into(view[done:], offset + done, length - done)
            except SourceError as error:
                done += error.done_bytes
                raise

        what = f"{self.name}: reading {length} bytes at {offset}"
        self._retry.run(what, attempt, self._clock, self._rng)

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
