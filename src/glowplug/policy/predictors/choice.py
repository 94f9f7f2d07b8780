"""choice: a mixture of all models of a function, each weighted by how well it foretold past gaps."""

from __future__ import annotations

from math import exp, log
from typing import ClassVar

import msgspec

from glowplug.policy.predictors.histogram import GapHistogram
from glowplug.policy.predictors.periodic import Periodic
from glowplug.policy.predictors.poisson import PoissonWindow
from glowplug.policy.predictors.pool import Level, Pool

MODELS = ("poisson", "histogram", "periodic", "pooled")
_LEAST = 1e-12


class Choice(msgspec.Struct):
    """A mixture: P(gap > age) is the models', weighted by `weights`, in the order of MODELS.

    After each gap a weight is multiplied by the probability that its model gave to a gap of about that length
    (the loss is logarithmic), and then a small part of all weight is dealt out evenly, so that another model
    can take over later (fixed share: Herbster and Warmuth, 1998). While nothing arrives, the mixture leans by
    itself to the models that expected silence.
    """

    share: ClassVar[float] = 0.02
    width: ClassVar[float] = 0.05
    """A gap of about that length is one within this share of it, or within `least_width_s`."""
    least_width_s: ClassVar[float] = 0.25

    last_s: float
    level: Level
    poisson: PoissonWindow = msgspec.field(default_factory=PoissonWindow)
    histogram: GapHistogram = msgspec.field(default_factory=GapHistogram)
    periodic: Periodic = msgspec.field(default_factory=Periodic)
    weights: list[float] = msgspec.field(default_factory=lambda: [1 / len(MODELS)] * len(MODELS))

    @staticmethod
    def begin(now_s: float) -> Choice:
        """A function that is called for the first time now."""
        return Choice(now_s, Level())

    def observe(self, t_s: float, pool: Pool) -> None:
        """An arrival, later than the last one. The pool learns from it as well."""
        gap_s = t_s - self.last_s
        self.last_s = t_s
        pool.learn(self.level.row, gap_s)
        self._weigh(gap_s, pool)
        self.level.observe(gap_s)
        self.poisson.observe(gap_s)
        self.histogram.observe(gap_s)
        self.periodic.observe(gap_s)

    def hazards(self, age_s: float, pool: Pool) -> tuple[float, float, float, float]:
        """H(age) by each of MODELS."""
        prior = pool.hazard(self.level.row, age_s)
        return (
            self.poisson.hazard(age_s, prior),
            self.histogram.hazard(age_s, prior),
            self.periodic.hazard(age_s, prior),
            prior,
        )

    def hazard(self, age_s: float, pool: Pool) -> float:
        """H(age) of the mixture."""
        if not self.poisson.gaps_s:
            # Called once: all models say what the pool does. So it is with most functions that there are.
            return pool.hazard(self.level.row, age_s)
        a, b, c, d = self.hazards(age_s, pool)
        u, v, w, x = self.weights
        least = min(a, b, c, d)
        # Written out: a loop takes longer than the four exponentials.
        mixed = u * exp(least - a) + v * exp(least - b) + w * exp(least - c) + x * exp(least - d)
        return least - log(mixed)

    def _weigh(self, gap_s: float, pool: Pool) -> None:
        around_s = max(self.least_width_s, self.width * gap_s)
        before = self.hazards(max(0.0, gap_s - around_s), pool)
        after = self.hazards(gap_s + around_s, pool)
        given = [
            w * max(_LEAST, exp(-b) - exp(-a)) for w, b, a in zip(self.weights, before, after, strict=True)
        ]
        total = sum(given)
        even = self.share / len(given)
        self.weights = [(1 - self.share) * each / total + even for each in given]
