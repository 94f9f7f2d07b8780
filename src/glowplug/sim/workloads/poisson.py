"""poisson: calls that know nothing of each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glowplug.sim.workloads.draws import draws
from glowplug.sim.workloads.generated import Generated
from glowplug.sim.workloads.trace import Floats, Trace, trace_of


class Poisson(Generated, frozen=True, kw_only=True):
    """A Poisson process for each function: together one stream, in which each call draws its function."""

    def trace(self, seed: int) -> Trace:
        self.check()
        rates = self.rates_per_s()
        times_s = poisson_times(rates.sum(), self.span_s, draws(seed, "arrivals"))
        function = pick(rates, len(times_s), draws(seed, "popularity"))
        return trace_of(times_s, function, self.names(), self.span_s)


def poisson_times(rate_per_s: float, span_s: float, rng: np.random.Generator) -> Floats:
    """Sorted times in [0, span_s)."""
    return np.sort(rng.uniform(0, span_s, rng.poisson(rate_per_s * span_s)))


def pick(weights: Floats, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`count` numbers of weights, each as often as it is heavy."""
    edges = np.cumsum(weights)
    # A draw can round up to the last edge.
    return np.minimum(
        np.searchsorted(edges, rng.uniform(0, edges[-1], count), side="right"), len(weights) - 1
    )
