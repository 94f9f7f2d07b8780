"""What serverless runs are compared with on this machine: MPI with the same partition, and one server."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import msgspec

from glowplug.distributed.assignment import Assignment
from glowplug.distributed.channels.base import Address
from glowplug.distributed.deploying import deploy
from glowplug.distributed.network import Floats, Network
from glowplug.distributed.results import Output
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.stored import StoredNetwork
from glowplug.distributed.workload.serial import serial

_MPI_S = 600.0


class Timed(msgspec.Struct, frozen=True, eq=False):
    """`total_s` is from the first process to the result, `worked_s` from the first layer."""

    output: Output
    total_s: float
    worked_s: float


def mpi_program() -> Path | None:
    """`mpiexec` beside this interpreter (package `mpich`), where mpi4py is installed too."""
    program = Path(sys.executable).parent / "mpiexec"
    return program if find_spec("mpi4py") is not None and program.exists() else None


def run_mpi(network: Network, x: Floats, assignment: Assignment, parts: str = "") -> Timed:
    """A rank for each worker. Raises RuntimeError with the ranks' last words, TimeoutExpired,
    FileNotFoundError."""
    program = mpi_program()
    if program is None:
        raise FileNotFoundError("mpiexec is not installed: pip install mpi4py mpich")
    options = RunOptions(form="plain", background=False, parts=parts)
    with tempfile.TemporaryDirectory(prefix="glowplug-mpi-") as folder:
        address = Address("mpi", "mpi", assignment.workers, {})
        deployed = deploy(network, x, assignment, address, options, Path(folder))
        seconds = Path(folder) / "seconds"
        command = [
            str(program), "-n", str(assignment.workers), sys.executable,
            "-m", "glowplug.bench.baselines.mpi_worker", str(deployed.path), str(seconds),
        ]  # fmt: skip
        began_s = time.monotonic()
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_MPI_S, check=False,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        total_s = time.monotonic() - began_s
        if done.returncode or not seconds.exists():
            raise RuntimeError(f"mpiexec ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return Timed(deployed.output(), total_s, float(seconds.read_text()))


class Server:
    """One process that has the model already, with a thread for each core: same kernel."""

    def __init__(self, network: Network, threads: int) -> None:
        layers = [network.layer(index) for index in range(network.layers)]
        self._network = StoredNetwork(layers, [network.activation(index) for index in range(network.layers)])
        self._threads = threads

    def run(self, x: Floats) -> Timed:
        began_s = time.monotonic()
        output = serial(self._network, x, self._threads)
        took_s = time.monotonic() - began_s
        return Timed(output, took_s, took_s)
