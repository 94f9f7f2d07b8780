"""`serve --memory`: what it may be, and what is said of more than there is."""

from __future__ import annotations

from pathlib import Path

import structlog

from glowplug.core.errors import InvalidArguments
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import LEAST_MEMORY_BYTES
from glowplug.core.units import parse_bytes, show_bytes
from glowplug.node.machine_memory import most_bytes

log = structlog.get_logger("glowplug.serve")


def parse_budget(memory: str) -> int:
    """Raises InvalidArguments for less than one worker takes with its environment."""
    budget_bytes = parse_bytes(memory, "--memory")
    least_bytes = ControlSettings().environment_estimate_bytes + LEAST_MEMORY_BYTES
    if budget_bytes < least_bytes:
        raise InvalidArguments(
            f"--memory: no worker could start in {memory!r}; give at least {show_bytes(least_bytes)}, most "
            "of which is reserved for the libraries of the first environment",
            "memory",
        )
    return budget_bytes


def beyond_the_machine(budget_bytes: int, gives_way: bool, root: Path) -> str:
    """What the greeting says of a budget that is more than there is, which the log is told too; empty where
    there is as much, or nobody knows.

    Raises InvalidArguments where nothing would be given up for what is lacking.
    """
    try:
        there_bytes = most_bytes(root)
    except (OSError, ValueError):
        return ""
    if budget_bytes <= there_bytes:
        return ""
    budget, there = show_bytes(budget_bytes), show_bytes(there_bytes)
    if not gives_way:
        raise InvalidArguments(
            f"--memory: {budget} is more than the {there} that this machine, or its control group, has; give "
            "less, or have it hold less by itself when they are short, without --no-give-way",
            "memory",
        )
    log.warning("the memory budget is more than there is", budget=budget, there_is=there)
    return (
        f"more than the {there} that this machine, or its control group, has: it gives way before those end"
    )
