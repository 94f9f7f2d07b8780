"""The fork server: libraries imported, a fresh child per cold request. See baselines/forkserver.py."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from glowplug.bench.models import BenchModel, examples_dir, weights_files
from glowplug.bench.systems import Held, Measurement
from glowplug.bench.systems.memory import environment_bytes
from glowplug.bench.systems.processes import children, command_line, end_tree
from glowplug.loader.pagecache import evict_page_cache, page_cache_bytes

SCRIPT = Path(__file__).parents[1] / "baselines" / "forkserver.py"


class ForkserverSystem:
    """Stands at `imported` always: its one process serves every model whose libraries it holds."""

    name = "forkserver"

    def __init__(self, models: list[BenchModel], folder: Path, warm_repeats: int) -> None:
        self._folder = folder
        self._warm_repeats = warm_repeats
        ours, theirs = socket.socketpair()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(SCRIPT.parent), str(examples_dir()))),
            "FORKSERVER_MODULES": " ".join(model.name for model in models),
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(theirs.fileno())],
                env=environment,
                pass_fds=[theirs.fileno()],
            )
        self._connection: Connection[Any, Any] = Connection(ours.detach())
        self._connection.recv()

    def steps(self) -> tuple[str, ...]:
        return ("imported",)

    def measure(self, model: BenchModel, request: Any, step: str, cache: str) -> Measurement:
        _, weights = weights_files(model, self._folder)
        if cache == "cold":
            evict_page_cache(weights)
        else:
            weights.read_bytes()
        held = Held(
            own_bytes=0, environment_bytes=environment_bytes(self._server()),
            weights_bytes=page_cache_bytes(weights),
        )  # fmt: skip
        sent_s = time.monotonic()
        self._connection.send((model.name, str(weights)))
        self._connection.send((sent_s, request))
        answer, phases = self._connection.recv()
        latency_s = time.monotonic() - sent_s
        self._connection.send(self._warm_repeats)
        warm_s = statistics.median(self._connection.recv())
        self._connection.send(None)
        phases["reply"] = max(0.0, latency_s - sum(phases.values()))
        return Measurement(answer, latency_s, warm_s, phases, held)

    def close(self) -> None:
        """The server ends when its socket does, and with it the fork server."""
        self._connection.close()
        try:
            self._process.wait(10)
        finally:
            end_tree(self._process)

    def _server(self) -> int:
        """The process that imported the libraries and forks: multiprocessing's own, below the script."""
        return next(
            pid for pid in children(self._process.pid)
            if any("multiprocessing.forkserver" in word for word in command_line(pid))
        )  # fmt: skip
