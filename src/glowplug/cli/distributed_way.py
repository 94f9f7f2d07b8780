"""Which way `glowplug distributed run` goes, as given or as the planner chooses, and what is predicted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from glowplug.cli.distributed_plan import problem_of, some_inputs, terms_of
from glowplug.cli.output import errors
from glowplug.core.errors import InvalidArguments
from glowplug.core.units import parse_bytes

if TYPE_CHECKING:
    from glowplug.distributed.comparing import Comparison
    from glowplug.distributed.network import Network
    from glowplug.distributed.partition.result import Partition
    from glowplug.distributed.run_place import Took
    from glowplug.policy.plans.chooser import Terms
    from glowplug.policy.plans.facts import Problem
    from glowplug.policy.plans.score import Score
    from glowplug.policy.plans.spread import Cut

Plan = Literal["serial", "replicas", "pipeline", "rows", "hybrid"]
Collect = Literal["activations", "categories"]
_TRIED = (1, 2, 4, 8, 16)
DEFAULT_WORKERS, DEFAULT_REPLICAS = 4, 2
_MOST_MEMORY = "10GiB"
METHOD = "layered"
"""Of partitioning, where none is given."""


class Asked(NamedTuple):
    """As it was given, but for channels: there is one at least."""

    plan: Plan | None
    workers: tuple[int, ...]
    channels: tuple[str, ...]
    replicas: int
    micro_batches: int
    method: str
    objective: Literal["cheapest", "fastest"]
    budget: float | None
    deadline: str
    memory: str
    delays: str
    samples: int
    collect: Collect
    relayed: bool = False

    def check(self) -> None:
        """Raises InvalidArguments."""
        from glowplug.distributed.partition.methods import METHODS
        from glowplug.policy.plans.chooser import CHANNELS

        if self.workers and min(self.workers) < 1:
            many = " ".join(map(str, self.workers))
            raise InvalidArguments(f"--workers {many}: each is at least 1", "workers")
        if self.method not in METHODS:
            raise InvalidArguments(f"no method {self.method}: there are {', '.join(METHODS)}", "method")
        unknown = [each for each in self.channels if each not in CHANNELS]
        if unknown and self.plan is None:
            known = ", ".join(CHANNELS)
            raise InvalidArguments(f"--channel {unknown[0]}: the planner knows {known}", "channel")
        if self.plan is None:
            misplaced = {
                "replicas": self.replicas > 0, "micro-batches": self.micro_batches > 0,
                "relayed": self.relayed,
            }  # fmt: skip
            why = "that belongs to a --plan"
        else:
            misplaced = {
                "workers": len(self.workers) > 1, "channel": len(self.channels) > 1,
                "budget": self.budget is not None,
            }  # fmt: skip
            why = "a --plan leaves the planner nothing to choose from"
        if self.plan not in (None, "rows") and self.relayed:
            raise InvalidArguments("--relayed: only --plan rows has pairs of workers to relay for", "relayed")
        for name in (name for name, is_given in misplaced.items() if is_given):
            raise InvalidArguments(f"--{name}: {why}", name)

    def terms(self) -> Terms:
        """What the planner may choose from."""
        memory_bytes = parse_bytes(self.memory or _MOST_MEMORY, "--memory")
        return terms_of(
            self.objective, self.deadline, self.budget, memory_bytes, self.workers or _TRIED, self.channels,
            (), self.delays,
        )  # fmt: skip


def chosen(network: Network, asked: Asked, folder: Path) -> Score:
    """By the planner. Raises NothingFits, InvalidArguments."""
    from glowplug.policy.plans.chooser import choose

    terms = asked.terms()
    problem = problem_of(network, asked.samples, terms, folder, method=asked.method)
    return choose(_collecting(problem, asked), terms).chosen


def given_cut(network: Network, asked: Asked) -> Cut:
    """Of the plan that is given. Raises InvalidArguments."""
    from glowplug.distributed.assignment import even_cuts
    from glowplug.policy.plans.facts import CHUNK_SAMPLES
    from glowplug.policy.plans.spread import Cut

    workers = asked.workers[0] if asked.workers else DEFAULT_WORKERS
    replicas = asked.replicas or DEFAULT_REPLICAS
    if asked.plan in ("serial", "replicas"):
        groups = 1 if asked.plan == "serial" else workers
        return Cut(groups, micro_batches=asked.micro_batches or -(-asked.samples // (groups * CHUNK_SAMPLES)))
    if asked.plan == "pipeline":
        batches = asked.micro_batches or min(4 * workers, asked.samples)
        return Cut(stages=even_cuts(network, workers), micro_batches=batches)
    if asked.plan == "rows":
        return Cut(rows=workers, partition=asked.method, relayed=asked.relayed)
    if workers % replicas:
        raise InvalidArguments(f"--replicas {replicas}: {workers} workers make no such groups", "replicas")
    return Cut(replicas, rows=workers // replicas, partition=asked.method)


def foretold(
    network: Network, asked: Asked, cut: Cut, partitions: tuple[Partition, ...], memory_mib: int
) -> Score | None:
    """What is expected of a way that is given; None over a channel that the planner does not know."""
    from glowplug.distributed.calibration import calibrate
    from glowplug.distributed.planning import surveyed
    from glowplug.policy.plans import CannotSpread
    from glowplug.policy.plans.chooser import CHANNELS
    from glowplug.policy.plans.given import foretell

    if asked.channels[0] not in CHANNELS:
        return None
    by_rows = {cut.rows: partitions[0]} if cut.rows > 1 else {}
    with errors.status("what it will take"):
        machine = calibrate(network)
        problem = surveyed(network, some_inputs(network, asked.samples), asked.samples, machine, by_rows)
        try:
            return foretell(_collecting(problem, asked), asked.terms(), cut, asked.channels[0], memory_mib)
        except CannotSpread:
            return None


def compared(score: Score, found: Took, delays: str, *, on_cloud: bool) -> Comparison:
    """At the prices of the table, whatever the run was over."""
    from glowplug.distributed.comparing import compare
    from glowplug.distributed.prices import price_table

    table = price_table()
    return compare(score, found, delays, table.prices(), table.broker, on_cloud=on_cloud)


def _collecting(problem: Problem, asked: Asked) -> Problem:
    collect: Any = "rows" if asked.collect == "activations" else "categories"
    workload = msgspec.structs.replace(problem.workload, collect=collect)
    return msgspec.structs.replace(problem, workload=workload)
