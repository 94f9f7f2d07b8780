"""serial: one worker has the whole model and takes the samples in chunks."""

from __future__ import annotations

import msgspec

from glowplug.policy.plans import CannotSpread
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.replicas import whole_model
from glowplug.policy.plans.spread import Spread


class Serial(msgspec.Struct, frozen=True):
    def spreads(self, problem: Problem, workers: int) -> list[Spread]:
        if workers != 1:
            raise CannotSpread(f"serial has one worker, not {workers}")
        return [whole_model("serial", problem, 1)]
