"""A store on paper: any source, as slow and as unreliable as it is asked to be."""

from __future__ import annotations

import math

from glowplug.loader.clock import Clock, RealClock
from glowplug.loader.errors import ReadDeadline, SourceError, SourceUnavailable
from glowplug.loader.sources.base import Advice, WeightSource, check_range, target
from glowplug.loader.sources.faults import NO_FATE, NO_FAULTS, Fates, Fault, Faults
from glowplug.loader.sources.link import Link
from glowplug.loader.sources.statuses import status_error

_READ_BYTES = 4 * 2**20


class ThrottledSource:
    """`inner` behind a line of `bandwidth_bytes_s`, or behind `link`, shared by all reads, and `latency_s`
    away.

    Each read waits `latency_s` and up to `jitter_s` more, then takes its turn on the line (`Link`), and
    returns when its last byte has passed; it copies while its bytes pass. Waiting costs no processor. What
    goes wrong is in `faults`; a stalled read fails after `stall_s` without a byte. Equal seeds give equal
    jitter and faults.
    """

    def __init__(
        self,
        inner: WeightSource,
        *,
        bandwidth_bytes_s: float | None = None,
        link: Link | None = None,
        latency_s: float = 0.0,
        jitter_s: float = 0.0,
        faults: Faults = NO_FAULTS,
        stall_s: float = 10.0,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        if (link is None) == (bandwidth_bytes_s is None):
            raise ValueError(
                "a throttled source has either a bandwidth of its own or a link that others share"
            )
        self._link = link if link is not None else Link(bandwidth_bytes_s or 0.0)
        self.name = inner.name
        self.size = inner.size
        # Enough reads to fill the line while one more waits for its first byte, one is on its way back, and
        # one waits for a core.
        waiting = math.ceil((latency_s + jitter_s) * self._link.bandwidth_bytes_s / _READ_BYTES)
        self.advice = Advice(parallel=3 + waiting, read_bytes=_READ_BYTES)
        self._inner = inner
        self._latency_s = latency_s
        self._jitter_s = jitter_s
        self._stall_s = stall_s
        self._fates = Fates(faults, seed) if jitter_s or faults != NO_FAULTS else None
        self._clock = clock or RealClock()

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        self.read_within(buffer, offset, length, None)

    def read_within(
        self, buffer: bytearray | memoryview, offset: int, length: int, within_s: float | None
    ) -> None:
        asked_s = self._clock.now_s()
        until_s = math.inf if within_s is None else asked_s + within_s
        view = target(buffer, length)
        check_range(self.name, self.size, offset, length)
        if not length:
            return
        fate = self._fates.next(offset, length) if self._fates else NO_FATE
        # By the due time, not by when this thread woke: the bytes are on their way without it.
        first_s = asked_s + self._latency_s + self._jitter_s * fate.jitter
        self._wait(first_s, until_s, offset, length, 0)
        if fate.fault is not None and isinstance(fate.fault.value, int):
            raise status_error(self.name, fate.fault.value, offset, length)
        cut = fate.fault in (Fault.RESET, Fault.STALL, Fault.SHORT)
        coming = fate.done_bytes if cut else length
        turn = self._link.reserve(first_s, coming, until_s)
        self._clock.wait_until(min(turn.start_s, until_s))
        self._inner.read_into(view, offset, turn.nbytes)
        self._wait(turn.end_s if turn.nbytes == coming else math.inf, until_s, offset, length, turn.nbytes)
        if fate.fault is Fault.STALL:
            self._wait(turn.end_s + self._stall_s, until_s, offset, length, coming)
        if fate.fault is Fault.FLIP:
            view[fate.done_bytes] ^= 1 << fate.done_bytes % 8
        elif fate.fault is not None:
            raise self._broken(fate.fault, offset, length, coming)

    def close(self) -> None:
        self._inner.close()

    def _wait(self, at_s: float, until_s: float, offset: int, length: int, done: int) -> None:
        self._clock.wait_until(min(at_s, until_s))
        if at_s > until_s:
            raise ReadDeadline(
                f"{self.name}: {done} of {length} bytes at {offset} came in time; "
                "allow a longer time, or read less at once",
                done_bytes=done,
            )

    def _broken(self, fault: Fault, offset: int, length: int, done: int) -> SourceError:
        what = f"{self.name}: reading {length} bytes at {offset}"
        if fault is Fault.LONG:
            return SourceUnavailable(f"{what}: the answer was longer")
        how = {
            Fault.RESET: "the connection was reset",
            Fault.STALL: f"nothing came for {self._stall_s} s",
            Fault.SHORT: "the answer was over",
        }[fault]
        return SourceUnavailable(f"{what}: {how} after {done} bytes", done_bytes=done)
