"""How one model is spread over many workers: a plan per file, a model of what it costs, and a chooser.

A plan turns the facts of a workload into a `Spread`; `channels` counts its calls and bytes, `critical_path`
its seconds, `billing` its dollars; `chooser` compares all of them.
"""

from __future__ import annotations

from typing import Protocol

from glowplug.core.errors import UserError
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.spread import Spread


class CannotSpread(UserError):
    """The workload cannot be spread like this; says why."""

    status = 422
    code = "cannot_spread"


class Plan(Protocol):
    """No state: the same problem gives the same spreads."""

    def spreads(self, problem: Problem, workers: int) -> list[Spread]:
        """Every way of this plan over exactly `workers` workers that is worth a look. Raises CannotSpread."""
