"""Part `faults` of `distributed`: runs in which a worker is killed at a random layer and messages are lost,
damaged, doubled, late and out of order, each against a clean run of the same plan over the same channel
just before it.

What happens is drawn by each run's seed, its number. What is left of all runs, clean ones too, is counted
after the last: processes, files and what lies in brokers and stores.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from glowplug.bench.distributed_options import Options, Tell
from glowplug.bench.distributed_services import Service, services
from glowplug.bench.result import Claim, claim, spread
from glowplug.bench.systems.processes import command_line, descendants
from glowplug.distributed import assignment as assignments
from glowplug.distributed.assignment import Assignment
from glowplug.distributed.faults import Faults, Kill
from glowplug.distributed.network import Floats, Network
from glowplug.distributed.orders import FIRST
from glowplug.distributed.partition.methods import partition
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.runner import Run
from glowplug.distributed.runner import run as run_gang
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.digits import digits
from glowplug.distributed.workload.serial import serial

Rows = list[dict[str, Any]]
PLANS = ("rows", "pipeline")
RECOVERY = 2.0
"""At most so many times as long as a clean run may one with faults take."""
SEED = 0
"""Of the network and of its inputs."""
_CHECKPOINTS = 4
"""In each run, about."""
_SHARES = {"drop": 0.01, "corrupt": 0.01, "duplicate": 0.05, "late": 0.05, "delay": 0.05}


class _Cell(msgspec.Struct, frozen=True):
    plan: str
    layers: int
    service: Service


class _Pair(msgspec.Struct, frozen=True, eq=False):
    """One after the other, so that a busy machine harms both."""

    clean: Run
    faulty: Run


class _Ground(msgspec.Struct, frozen=True, eq=False):
    """A network, what it answers, and the plans for it."""

    network: Network
    answer: Floats
    assignments: dict[str, Assignment]


def run(options: Options, tell: Tell) -> tuple[Rows, list[Claim], list[str]]:
    """Rows by plan and channel, what is claimed, and what could not be run. Raises what a run raises."""
    with tempfile.TemporaryDirectory(prefix="glowplug-distributed-") as name:
        folder = Path(name)
        with (
            services(folder, options.real_channels) as (available, missing),
            _temporary(folder / "temporary"),
        ):
            bench = _Bench(options, folder)
            cells = [_Cell(plan, _layers(options, each), each) for each in available for plan in PLANS]
            for number in range(options.fault_runs):
                cell = cells[number % len(cells)]
                where = f"{cell.plan} over {cell.service.channel}"
                tell(f"faults: {number + 1} of {options.fault_runs}, {where}")
                bench.measure(cell, number)
            left = bench.left_behind(available)
    for each in left:
        tell(f"faults: left behind: {each}")
    rows = [bench.row(cell) for cell in cells if cell in bench.pairs]
    return rows, _claims(rows, left), missing


def _layers(options: Options, service: Service) -> int:
    return options.queue_layers if service.channel.startswith("queue") else options.layers


@contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    """Runs put their files there, and nobody else does."""
    folder.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


class _Bench:
    def __init__(self, options: Options, folder: Path) -> None:
        self.pairs: dict[_Cell, list[_Pair]] = defaultdict(list)
        self._options, self._folder = options, folder
        self._inputs = digits(options.neurons[0], options.real_samples, SEED)
        self._grounds: dict[int, _Ground] = {}

    def measure(self, cell: _Cell, seed: int) -> None:
        """A clean run, and at once one in which what `seed` says goes wrong."""
        faults = _faults(self._ground(cell.layers).assignments[cell.plan], cell.layers, seed)
        clean = self._run(cell, Faults())
        self.pairs[cell].append(_Pair(clean, self._run(cell, faults)))

    def _run(self, cell: _Cell, faults: Faults) -> Run:
        ground = self._ground(cell.layers)
        options = RunOptions(
            faults=faults,
            checkpoint_layers=max(1, cell.layers // _CHECKPOINTS),
            checkpoints=str(self._folder / "checkpoints"),
            keep=True,
            stall_s=0.1,
            parts=str(self._folder / "parts"),
        )
        assignment = ground.assignments[cell.plan]
        return run_gang(ground.network, self._inputs, assignment, cell.service.make(), options)

    def row(self, cell: _Cell) -> dict[str, Any]:
        pairs, answer = self.pairs[cell], self._ground(cell.layers).answer
        found, clean = [pair.faulty for pair in pairs], [pair.clean for pair in pairs]
        return {
            "part": "faults",
            "system": "ours",
            "plan": cell.plan,
            "channel": cell.service.channel,
            "neurons": self._options.neurons[0],
            "layers": cell.layers,
            "samples": self._options.real_samples,
            "workers": self._options.real_workers,
            "seed": SEED,
            "runs": len(found),
            **spread("total_s", [each.seconds for each in found]),
            **spread("clean_s", [each.seconds for each in clean]),
            **spread("recovery", [pair.faulty.seconds / pair.clean.seconds for pair in pairs]),
            "restarts": sum(each.restarts for each in found),
            "went_back": sum(each.epochs - 1 for each in found),
            "damaged": sum(worker.damaged for each in found for worker in each.workers),
            "sent_again": sum(worker.sent_again for each in found for worker in each.workers),
            "usd": None,
            "bytes_sent": statistics.median(each.meter.message_bytes_sent for each in found),
            "rows_sent": found[0].rows_sent,
            "predicted_s": None,
            "predicted_usd": None,
            "delay_model": None,
            "equal": all(np.array_equal(each.output, answer) for each in [*found, *clean]),
            "simulated": False,
        }

    def left_behind(self, available: list[Service]) -> list[str]:
        """Processes of workers, and what lies in files, brokers and stores."""
        found = [
            f"process {pid}"
            for pid in descendants(os.getpid())
            if "glowplug.distributed.zygote_main" in command_line(pid)
        ]
        stored = (path for path in (self._folder / "checkpoints").rglob("*") if path.is_file())
        found += [str(path) for path in (*(self._folder / "temporary").iterdir(), *stored)]
        return found + [f"{each.channel}: {what}" for each in available for what in each.left()]

    def _ground(self, layers: int) -> _Ground:
        if layers not in self._grounds:
            many, samples = self._options.real_workers, self._options.real_samples
            network = ChallengeNetwork(self._options.neurons[0], layers, SEED)
            cuts = assignments.even_cuts(network, many)
            plans = {
                "rows": assignments.rows(samples, partition(network, many)),
                "pipeline": assignments.pipeline(network, samples, cuts, min(2 * many, samples)),
            }
            self._grounds[layers] = _Ground(network, serial(network, self._inputs), plans)
        return self._grounds[layers]


def _faults(assignment: Assignment, layers: int, seed: int) -> Faults:
    """One worker is killed at a random one of its layers."""
    rng = random.Random(seed)
    worker = rng.randrange(assignment.workers)
    share = rng.randrange(len(assignment.shares))
    owners = assignment.partitions[assignment.shares[share].partition].owners
    mine = [index for index, owner in enumerate(owners) if worker in owner]
    step = FIRST + share * layers + rng.choice(mine)
    return Faults(seed=seed, kills=(Kill(worker, step),), **_SHARES)


def _claims(rows: Rows, left: list[str]) -> list[Claim]:
    longest = max(row["recovery_max"] for row in rows)
    return [
        claim("faults: outputs unlike the clean one's", sum(not row["equal"] for row in rows), "at most", 0),
        claim("faults: longest run over a clean one", longest, "at most", RECOVERY),
        claim("faults: processes, files and messages left behind", len(left), "at most", 0),
    ]
