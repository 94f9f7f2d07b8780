"""Part `faults` of `distributed`: runs in which a worker is killed at a random layer and messages are lost,
damaged, doubled, late and out of order, each against a clean run of the same plan over the same channel
just before it.

What happens is drawn by each run's seed, its number. What is left after a pair is counted: processes, files
and what lies in brokers and stores. With `folder` each pair is kept, and who runs it again goes on.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from glowplug.bench.distributed.fault_pairs import Pair, Pairs
from glowplug.bench.distributed.options import Options, Tell
from glowplug.bench.distributed.services import Service, services
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

    @property
    def name(self) -> tuple[str, str]:
        return self.plan, self.service.channel


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
            cells = [_Cell(plan, _layers(options, each), each) for each in available for plan in PLANS]
            names = [(cell.name, cell.layers) for cell in cells]
            settings = (options.neurons[0], options.real_samples, options.real_workers, names)
            pairs = Pairs(Path(options.folder) if options.folder else None, settings)
            bench = _Bench(options, folder)
            began_s = time.monotonic()
            for number in range(options.fault_runs):
                if number in pairs.found:
                    continue
                if options.within_s and time.monotonic() - began_s > options.within_s:
                    missing.append(
                        f"faults: {len(pairs.found)} of {options.fault_runs} runs yet: run it again"
                    )
                    break
                pair = bench.measure(cells[number % len(cells)], number)
                pairs.add(pair)
                tell(
                    f"faults: {number + 1} of {options.fault_runs}, {pair.plan} over {pair.channel}: "
                    f"{pair.clean_s:.2f} s, then {pair.faulty_s:.2f}"
                    + "".join(f", left {one}" for one in pair.left)
                )
    of_cell = defaultdict(list)
    for pair in pairs.found.values():
        of_cell[pair.plan, pair.channel].append(pair)
    rows = [_row(options, cell, of_cell[cell.name]) for cell in cells if cell.name in of_cell]
    return rows, _claims(rows, [one for pair in pairs.found.values() for one in pair.left]), missing


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
        self._options, self._folder = options, folder
        self._inputs = digits(options.neurons[0], options.real_samples, SEED)
        self._grounds: dict[int, _Ground] = {}

    def measure(self, cell: _Cell, number: int) -> Pair:
        """A clean run, and at once, so that a busy machine harms both, one in which things go wrong as the
        number draws."""
        ground = self._ground(cell.layers)
        clean = self._run(cell, Faults())
        faulty = self._run(cell, _faults(ground.assignments[cell.plan], cell.layers, number))
        return Pair(
            number=number,
            plan=cell.plan,
            channel=cell.service.channel,
            clean_s=clean.seconds,
            faulty_s=faulty.seconds,
            restarts=faulty.restarts,
            went_back=faulty.epochs - 1,
            damaged=sum(worker.damaged for worker in faulty.workers),
            sent_again=sum(worker.sent_again for worker in faulty.workers),
            bytes_sent=faulty.meter.message_bytes_sent,
            rows_sent=faulty.rows_sent,
            equal=all(np.array_equal(each.output, ground.answer) for each in (clean, faulty)),
            left=tuple(self._left_behind(cell.service)),
        )

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

    def _left_behind(self, service: Service) -> list[str]:
        """Processes of workers, and what lies in files, brokers and stores."""
        found = [
            f"process {pid}"
            for pid in descendants(os.getpid())
            if "glowplug.distributed.zygote_main" in command_line(pid)
        ]
        stored = (path for path in (self._folder / "checkpoints").rglob("*") if path.is_file())
        found += [str(path) for path in (*(self._folder / "temporary").iterdir(), *stored)]
        return found + [f"{service.channel}: {what}" for what in service.left()]

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


def _row(options: Options, cell: _Cell, pairs: list[Pair]) -> dict[str, Any]:
    return {
        "part": "faults",
        "system": "ours",
        "plan": cell.plan,
        "channel": cell.service.channel,
        "neurons": options.neurons[0],
        "layers": cell.layers,
        "samples": options.real_samples,
        "workers": options.real_workers,
        "seed": SEED,
        "runs": len(pairs),
        "numbers": sorted(pair.number for pair in pairs),
        **spread("total_s", [pair.faulty_s for pair in pairs]),
        **spread("clean_s", [pair.clean_s for pair in pairs]),
        **spread("recovery", [pair.recovery for pair in pairs]),
        "restarts": sum(pair.restarts for pair in pairs),
        "went_back": sum(pair.went_back for pair in pairs),
        "damaged": sum(pair.damaged for pair in pairs),
        "sent_again": sum(pair.sent_again for pair in pairs),
        "usd": None,
        "bytes_sent": statistics.median(pair.bytes_sent for pair in pairs),
        "rows_sent": pairs[0].rows_sent,
        "predicted_s": None,
        "predicted_usd": None,
        "delay_model": None,
        "equal": all(pair.equal for pair in pairs),
        "simulated": False,
    }


def _claims(rows: Rows, left: list[str]) -> list[Claim]:
    longest = max(row["recovery_max"] for row in rows)
    return [
        claim("faults: outputs unlike the clean one's", sum(not row["equal"] for row in rows), "at most", 0),
        claim("faults: longest run over a clean one", longest, "at most", RECOVERY),
        claim("faults: processes, files and messages left behind", len(left), "at most", 0),
    ]
