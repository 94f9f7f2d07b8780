"""Is something flat? Memory and descriptors of processes, sampled, and the slope through the samples."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import Callable, Mapping

import msgspec

from glowplug.node.procfs import anonymous_bytes

MOST_PAIRS = 400
"""Samples beyond this many are thinned before slopes are taken between all pairs of them."""


class Sample(msgspec.Struct, frozen=True):
    at_s: float
    memory_bytes: int
    descriptors: int


class Watch:
    """Samples the processes that `pids` names, each `every_s`, in the event loop, until the block is left."""

    def __init__(self, pids: Callable[[], Mapping[str, int]], every_s: float) -> None:
        self._pids = pids
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None
        self.samples: dict[str, list[Sample]] = {}

    async def __aenter__(self) -> Watch:
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self.look()

    def look(self) -> None:
        """Takes one sample of each now."""
        for name, pid in self._pids().items():
            found = sample(pid)
            if found is not None:
                self.samples.setdefault(name, []).append(found)

    async def _run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(self._every_s)


def sample(pid: int) -> Sample | None:
    """What a process holds now; None when it is gone."""
    try:
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
    except OSError:
        return None
    return Sample(time.monotonic(), anonymous_bytes(pid), descriptors)


def growth(points: list[tuple[float, float]], skip: float = 0.25) -> float:
    """How much the values grew over the whole time, by the median of the slopes between all pairs (Theil and
    Sen), which a few peaks do not move. The first `skip` of the time is a warm-up and left out."""
    if not points:
        return 0.0
    start_s, end_s = points[0][0], points[-1][0]
    kept = [point for point in points if point[0] >= start_s + skip * (end_s - start_s)]
    kept = kept[:: max(1, len(kept) // MOST_PAIRS)]
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for number, earlier in enumerate(kept)
        for later in kept[number + 1 :]
        if later[0] > earlier[0]
    ]
    return statistics.median(slopes) * (end_s - start_s) if slopes else 0.0


def memory_growth(samples: list[Sample], skip: float = 0.25) -> float:
    """Bytes over the whole time."""
    return growth([(each.at_s, each.memory_bytes) for each in samples], skip)


def descriptor_growth(samples: list[Sample], skip: float = 0.25) -> float:
    """Their number over the whole time."""
    return growth([(each.at_s, each.descriptors) for each in samples], skip)
