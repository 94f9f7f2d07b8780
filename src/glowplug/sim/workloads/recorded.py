"""What may be asked of any recorded trace: a part of it, its most called functions, a rate."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from glowplug.core.errors import InvalidWorkload
from glowplug.sim.workloads.draws import draws
from glowplug.sim.workloads.reshape import cut, jitter_timers, normalise, select, stretch
from glowplug.sim.workloads.trace import Trace

Count = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]


class Recorded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Done in the order of the fields."""

    path: Annotated[str, Meta(description="the file or folder")]
    start_min: Annotated[int, Meta(ge=0, description="leave out what comes before this minute")] = 0
    top: Annotated[Count | None, Meta(description="only the functions with most calls")] = None
    sample: Annotated[Count | None, Meta(description="only this many functions, drawn by the seed")] = None
    stretch: Annotated[float, Meta(gt=0, le=1e9, description="make all times this much longer")] = 1.0
    jitter_s: Annotated[
        float, Meta(ge=0, le=1e9, description="timers' calls come later by up to this, drawn")
    ] = 0.0
    rate_per_min: Annotated[Positive | None, Meta(description="scale times to this many calls a minute")] = (
        None
    )
    minutes: Annotated[Positive | None, Meta(description="the length of the window")] = None

    def trace(self, seed: int) -> Trace:
        """Raises InvalidTrace, InvalidWorkload."""
        found = self.read(seed)
        if self.stretch != 1:
            found = stretch(found, self.stretch, found.span_s * self.stretch)
        if self.jitter_s:
            found = jitter_timers(found, self.jitter_s, draws(seed, "jitter"))
        span_s = None if self.minutes is None else 60 * self.minutes
        if self.rate_per_min is not None:
            return normalise(found, self.rate_per_min, span_s)
        if span_s is None:
            return found
        if span_s > found.span_s * (1 + 1e-9):
            raise InvalidWorkload(f"minutes={self.minutes:g}: there are {found.span_s / 60:g}")
        return cut(found, 0.0, span_s)

    def read(self, seed: int) -> Trace:
        """The chosen functions from `start_min` on."""
        found = self.read_all(seed)
        if self.start_min:
            found = cut(found, 60 * self.start_min, found.span_s)
        chosen = self.choose(found.counts(), seed)
        return found if chosen is None else select(found, chosen)

    def read_all(self, seed: int) -> Trace:
        raise NotImplementedError

    def choose(self, totals: NDArray[np.int64], seed: int) -> NDArray[np.int64] | None:
        """The numbers of those functions that are asked for, by the calls of each; None for all of them."""
        if self.top is not None and self.sample is not None:
            raise InvalidWorkload("give top= or sample=, not both")
        wanted = self.top or self.sample
        if wanted is None:
            return None
        if wanted > len(totals):
            raise InvalidWorkload(f"{wanted} functions asked for: the trace has {len(totals)}")
        if self.top is not None:
            return np.argsort(-totals, kind="stable")[:wanted]
        return np.sort(draws(seed, "sample").choice(len(totals), wanted, replace=False))
