"""Part `live` of `distributed`: real workers over real services on this machine, beside MPI and one server.

Every cell runs the same network on the same samples; cells alternate, so that a noisy machine harms all
alike. The queue is moto, which answers as AWS does but no faster than Python can, so its cell has fewer
layers.
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from glowplug.bench.distributed.baselines import Server, mpi_program, run_mpi
from glowplug.bench.distributed.options import Options, Tell
from glowplug.bench.distributed.services import Service, services
from glowplug.bench.result import Claim, claim, spread
from glowplug.distributed import assignment as assignments
from glowplug.distributed.assignment import Assignment
from glowplug.distributed.metering import billed
from glowplug.distributed.network import Floats, Network
from glowplug.distributed.partition.methods import partition
from glowplug.distributed.prices import price_table
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.runner import run as run_gang
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.digits import digits
from glowplug.distributed.workload.serial import serial
from glowplug.policy.plans.billing import Usage

Rows = list[dict[str, Any]]
PLANS = ("serial", "replicas", "pipeline", "rows", "hybrid")
NATS_OVERHEAD_S = 0.005
"""What a layer over NATS may take besides its compute, with four workers on two cores."""
SEED = 0
"""Of the network and of its inputs."""
_BATCHES = 4
"""Micro-batches for each worker of a pipeline."""


class _Cell(msgspec.Struct, frozen=True):
    system: str
    plan: str
    channel: str
    layers: int
    workers: int
    service: Service | None = None


class _Found(msgspec.Struct, frozen=True):
    """One run. `total_s` is from the first process to the result, `worked_s` from the first layer."""

    total_s: float
    worked_s: float
    equal: bool
    usage: Usage
    overhead_s: float | None = None
    bytes_sent: int | None = None
    rows_sent: int = 0
    gib_s: float | None = None


def run(options: Options, tell: Tell) -> tuple[Rows, list[Claim], list[str]]:
    """Raises what a run raises."""
    found: dict[_Cell, list[_Found]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="glowplug-distributed-") as name:
        folder = Path(name)
        bench = _Bench(options, folder)
        with services(folder, options.real_channels) as (available, missing):
            cells = _cells(options, available)
            if mpi_program() is None:
                missing.append("mpi: pip install mpi4py mpich")
            for repeat in range(options.repeats):
                for cell in cells:
                    tell(f"live: {cell.system} {cell.plan} {cell.channel}, {repeat + 1} of {options.repeats}")
                    found[cell].append(bench.measure(cell))
    rows = [_row(options, cell, measured) for cell, measured in found.items()]
    return rows, _claims(options, rows), missing


def _cells(options: Options, available: list[Service]) -> list[_Cell]:
    many = options.real_workers
    cells = []
    for service in available:
        plans = PLANS if service.channel == "shared_memory" else ("rows",)
        layers = options.queue_layers if service.channel.startswith("queue") else options.layers
        cells += [
            _Cell("ours", plan, service.channel, layers, 1 if plan == "serial" else many, service)
            for plan in plans
        ]
    if mpi_program() is not None:
        cells.append(_Cell("mpi", "rows", "mpi", options.layers, many))
    return [*cells, _Cell("server", "serial", "none", options.layers, 1)]


class _Bench:
    """Networks, inputs, answers and partitions, made once."""

    def __init__(self, options: Options, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._inputs = digits(options.neurons[0], options.real_samples, SEED)
        self._networks: dict[int, Network] = {}
        self._answers: dict[int, Floats] = {}
        self._server: Server | None = None
        (folder / "partitions").mkdir()

    def measure(self, cell: _Cell) -> _Found:
        network = self._network(cell.layers)
        if cell.system == "server":
            return self._measure_server(network)
        assignment = self._assignment(network, cell)
        parts = str(self._folder / "parts")
        if cell.service is None:
            timed = run_mpi(network, self._inputs, assignment, parts)
            equal = np.array_equal(timed.output, self._answers[cell.layers])
            return _Found(timed.total_s, timed.worked_s, equal, _rented(cell.workers, timed.total_s))
        options = RunOptions(parts=parts, barrier=True)
        ran = run_gang(network, self._inputs, assignment, cell.service.make(), options)
        return _Found(
            total_s=ran.seconds,
            worked_s=max(worker.worked_s for worker in ran.workers),
            equal=np.array_equal(ran.output, self._answers[cell.layers]),
            usage=billed(ran, price_table().broker if cell.channel == "nats" else None),
            overhead_s=sorted(worker.phases.overhead_s for worker in ran.workers)[len(ran.workers) // 2],
            bytes_sent=ran.meter.message_bytes_sent,
            rows_sent=ran.rows_sent,
            gib_s=ran.gib_s,
        )

    def _measure_server(self, network: Network) -> _Found:
        cores = len(os.sched_getaffinity(0))
        self._server = self._server or Server(network, cores)
        timed = self._server.run(self._inputs)
        equal = np.array_equal(timed.output, self._answers[network.layers])
        return _Found(timed.total_s, timed.worked_s, equal, _rented(cores, timed.total_s))

    def _network(self, layers: int) -> Network:
        if layers not in self._networks:
            network = ChallengeNetwork(self._options.neurons[0], layers, SEED)
            self._networks[layers] = network
            self._answers[layers] = serial(network, self._inputs)
        return self._networks[layers]

    def _assignment(self, network: Network, cell: _Cell) -> Assignment:
        samples, many = self._options.real_samples, cell.workers

        def by_rows(workers: int) -> Any:
            return partition(network, workers, folder=self._folder / "partitions")

        match cell.plan:
            case "serial" | "replicas":
                return assignments.replicas(network, samples, many)
            case "pipeline":
                cuts = assignments.even_cuts(network, many)
                return assignments.pipeline(network, samples, cuts, min(_BATCHES * many, samples))
            case "rows":
                return assignments.rows(samples, by_rows(many))
            case _:
                return assignments.rows(samples, by_rows(many // 2), 2)


def _rented(cores: int, seconds: float) -> Usage:
    """The smallest server with so many cores, for as long as the job takes."""
    servers = price_table().servers
    fitting = [(server.usd_hour, kind) for kind, server in servers.items() if server.vcpus >= cores]
    return Usage(server_s={min(fitting)[1]: seconds}) if fitting else Usage()


def _row(options: Options, cell: _Cell, found: list[_Found]) -> dict[str, Any]:
    prices = price_table().prices()
    row: dict[str, Any] = {
        "part": "live",
        "system": cell.system,
        "plan": cell.plan,
        "channel": cell.channel,
        "neurons": options.neurons[0],
        "layers": cell.layers,
        "samples": options.real_samples,
        "workers": cell.workers,
        "seed": SEED,
        **spread("total_s", [each.total_s for each in found]),
        **spread("worked_s", [each.worked_s for each in found]),
        **spread("usd", [prices.usd(each.usage) for each in found]),
        "rows_sent": found[0].rows_sent,
        "predicted_s": None,
        "predicted_usd": None,
        "delay_model": None,
        "equal": all(each.equal for each in found),
        "simulated": False,
    }
    for name in ("overhead_s", "bytes_sent", "gib_s"):
        values = [value for each in found if (value := getattr(each, name)) is not None]
        row |= spread(name, values) if values else {name: None}
    return row


def _claims(options: Options, rows: Rows) -> list[Claim]:
    claims = [claim("live: answers unlike one worker's", sum(not row["equal"] for row in rows), "at most", 0)]
    claims += [
        claim(f"live: overhead of a layer over nats with {options.real_workers} workers_s", row["overhead_s"],
              "at most", NATS_OVERHEAD_S)
        for row in rows
        if row["channel"] == "nats"
    ]  # fmt: skip
    return claims
