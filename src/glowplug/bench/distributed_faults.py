"""Part `faults` of `distributed`: runs in which workers are killed and messages lost, doubled, damaged, late.

What happens is drawn by each run's seed. Its time stands beside that of the same run undisturbed; what is
left in /dev/shm or in the store after it is counted.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from glowplug.bench.distributed_options import Options, Tell
from glowplug.bench.result import Claim, claim
from glowplug.distributed import assignment as assignments
from glowplug.distributed.channels.base import Room
from glowplug.distributed.channels.registry import room
from glowplug.distributed.faults import Faults, Kill
from glowplug.distributed.partition.methods import partition
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.runner import Run
from glowplug.distributed.runner import run as run_gang
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.digits import digits
from glowplug.distributed.workload.serial import serial

CHANNELS = ("shared_memory", "object")
CHECKPOINT_LAYERS = 20
MOST_TIMES_CLEAN = 2.0
_CLEAN_RUNS = 5
_SHARES = {"drop": 0.01, "duplicate": 0.05, "corrupt": 0.01, "late": 0.05, "delay": 0.05}


def run(options: Options, tell: Tell) -> tuple[list[dict[str, Any]], list[Claim], list[str]]:
    """Raises what a run raises."""
    with tempfile.TemporaryDirectory(prefix="glowplug-faults-") as name:
        bench = _Bench(options, Path(name))
        clean_s: dict[str, float] = {}
        for channel in CHANNELS:
            tell(f"faults: {channel}, undisturbed")
            clean_s[channel] = median(bench.run(channel, Faults())[0].seconds for _ in range(_CLEAN_RUNS))
        rows = []
        for seed in range(options.fault_runs):
            tell(f"faults: run {seed + 1} of {options.fault_runs}")
            channel = CHANNELS[seed % len(CHANNELS)]
            rows.append(bench.row(channel, seed, clean_s[channel]))
    return rows, _claims(rows), []


class _Bench:
    def __init__(self, options: Options, folder: Path) -> None:
        self._workers, self._layers, self._folder = options.real_workers, options.layers, folder
        self._network = ChallengeNetwork(options.neurons[0], options.layers, 0)
        self._inputs = digits(options.neurons[0], options.real_samples, 0)
        self._answer = serial(self._network, self._inputs)
        cut = partition(self._network, options.real_workers, folder=folder / "partitions")
        self._assignment = assignments.rows(options.real_samples, cut)
        for name in ("shared_memory", "object"):
            (folder / name).mkdir()

    def run(self, channel: str, faults: Faults) -> tuple[Run, bool]:
        """One run, and whether its answer is that of one process, bit for bit."""
        options = RunOptions(
            faults=faults,
            keep=True,
            stall_s=0.3,
            checkpoint_layers=CHECKPOINT_LAYERS,
            parts=str(self._folder / "parts"),
            spares=2,
        )
        found = run_gang(self._network, self._inputs, self._assignment, self._room(channel), options)
        return found, bool(np.array_equal(found.output, self._answer))

    def row(self, channel: str, seed: int, clean_s: float) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        kill = Kill(int(rng.integers(self._workers)), int(rng.integers(self._layers)))
        found, equal = self.run(channel, Faults(seed=seed, kills=(kill,), **_SHARES))
        return {
            "part": "faults",
            "system": "ours",
            "plan": "rows",
            "channel": channel,
            "neurons": self._network.neurons,
            "layers": self._layers,
            "samples": self._inputs.shape[1],
            "workers": self._workers,
            "seed": seed,
            "kills": f"worker {kill.worker} before step {kill.step}",
            "total_s": found.seconds,
            "clean_s": clean_s,
            "restarts": found.restarts,
            "bytes_sent": found.meter.message_bytes_sent,
            "rows_sent": found.rows_sent,
            "left_behind": sum(1 for path in (self._folder / channel).rglob("*") if path.is_file()),
            "usd": None,
            "predicted_s": None,
            "predicted_usd": None,
            "delay_model": "this machine",
            "equal": equal,
            "simulated": False,
        }

    def _room(self, channel: str) -> Room:
        place = self._folder / channel
        if channel == "object":
            return room("object", url=f"file://{place}")
        return room("shared_memory", folder=str(place))


def _claims(rows: list[dict[str, Any]]) -> list[Claim]:
    slowest = max(row["total_s"] / row["clean_s"] for row in rows)
    return [
        claim("faults: answers unlike one worker's", sum(not row["equal"] for row in rows), "at most", 0),
        claim("faults: files left behind", sum(row["left_behind"] for row in rows), "at most", 0),
        claim("faults: slowest recovery, in times of a clean run", slowest, "at most", MOST_TIMES_CLEAN),
    ]
