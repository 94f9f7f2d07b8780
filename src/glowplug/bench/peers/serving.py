"""Peers of experiment `gateway`: other people's servers, and floors, each started alone in a scratch folder.

with running(CONTENDERS["mosec"], "echo", threads=1) as url:
    ...
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from glowplug.bench.gateway.asks import WORKLOADS, Ask, at, plain, v2
from glowplug.bench.models import examples_dir
from glowplug.bench.peers.scripts import BASELINES

KEEPER = BASELINES / "keeper.py"
END_S = 60.0
LOG_LINES = 15
Kind = Literal["peer", "floor"]


@dataclass(frozen=True)
class Contender:
    """One server. `script` is a module of `bench/baselines/serving`, `packages` whose versions tell what ran.

    `environment` is the virtual environment beside `examples` that has them, or `own`: this process's.
    `ask` prepares a workload's request; `variables` are added to the environment. `tuned` says in words
    what differs from the default, and `process` which process does the work.
    """

    name: str
    kind: Kind
    script: str
    environment: str
    packages: tuple[str, ...]
    process: str
    workloads: tuple[str, ...] = WORKLOADS
    ask: Callable[[str], Ask] = plain
    variables: Mapping[str, str] = field(default_factory=dict)
    tuned: str = ""

    @property
    def python(self) -> Path:
        if self.environment == "own":
            return Path(sys.executable)
        return examples_dir().parent / self.environment / "bin" / "python"


_SERVING, _MLSERVER = ".venv-serving", ".venv-mlserver"
_FLOOR = ("uvicorn", "uvloop", "httptools")

CONTENDERS = {
    one.name: one
    for one in (
        Contender("mosec", "peer", "mosec_app", _SERVING, ("mosec",), "a worker beside a server in Rust",
                  ask=at("/inference")),
        Contender("mlserver", "peer", "mlserver_app", _MLSERVER, ("mlserver",), "the server's", ask=v2),
        Contender("litserve", "peer", "litserve_app", _SERVING, ("litserve",),
                  "a worker behind one API server", ask=at("/predict")),
        Contender("bentoml", "peer", "bentoml_app", _SERVING, ("bentoml",), "the API server's"),
        Contender("ray", "peer", "ray_app", _SERVING, ("ray",), "one replica behind the proxy"),
        Contender("ray-tuned", "peer", "ray_app", _SERVING, ("ray",), "one replica behind the proxy",
                  variables={"SERVING_TUNED": "1"}, tuned="128 ongoing requests, throughput optimised"),
        Contender("floor-asgi", "floor", "asgi_raw", "own", _FLOOR, "the server's",
                  workloads=("echo", "tensor")),
        Contender("floor-starlette", "floor", "asgi_starlette", "own", (*_FLOOR, "starlette"),
                  "the server's", workloads=("echo", "tensor")),
        Contender("floor-worker", "floor", "asgi_worker", "own", _FLOOR, "a worker behind raw ASGI"),
    )
}  # fmt: skip


def lacks(contender: Contender) -> str | None:
    """Why it cannot run, or None."""
    python = contender.python
    if not python.exists():
        return f"{contender.environment} does not exist: run `make peers`"
    found = versions(contender)
    missing = [package for package in contender.packages if package not in found]
    return f"{contender.environment} has no {', '.join(missing)}: run `make peers`" if missing else None


def versions(contender: Contender) -> dict[str, str]:
    """The installed versions of its packages; nothing is imported."""
    folders = (
        sys.path
        if contender.environment == "own"
        else [str(path) for path in contender.python.parents[1].glob("lib/python3*/site-packages")]
    )
    found = {}
    for package in contender.packages:
        for each in importlib.metadata.distributions(name=package, path=list(folders)):
            found[package] = each.version
    return found


@contextlib.contextmanager
def running(
    contender: Contender, workload: str, threads: int, variables: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """A server's process until the block is left; it may not answer yet, see `Served.check_alive`.

    All that it starts ends with it, and with this process however that ends (see `baselines/keeper.py`).
    """
    with tempfile.TemporaryDirectory(prefix="gp-", ignore_cleanup_errors=True) as folder:
        port = free_port()
        log = Path(folder) / "log"
        command = [sys.executable, "-I", str(KEEPER), str(contender.python), "-m"]
        command += [f"serving.{contender.script}", workload, str(port), str(threads)]
        with open(log, "wb") as output:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.PIPE, stdout=output, stderr=output,
                env=_environment(contender, folder, variables or {}),
            )  # fmt: skip
        try:
            yield Served(contender.name, f"http://127.0.0.1:{port}", Path(folder), log, process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            status = process.wait(END_S)
            if status == _STUCK:
                raise RuntimeError(f"{contender.name} left processes that could not be killed")


@dataclass(frozen=True)
class Served:
    """A running server. `folder` is its working directory, `log` what it printed."""

    name: str
    url: str
    folder: Path
    log: Path
    process: subprocess.Popen[bytes]

    def check_alive(self) -> None:
        """Raises RuntimeError with the end of its log when it has ended."""
        status = self.process.poll()
        if status is not None:
            raise RuntimeError(f"{self.name} ended with status {status}:\n{self.tail()}")

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])


def free_port() -> int:
    """One that nobody listens on now. Another may take it first: then the server says so and ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


_STUCK = 70
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ")


def _environment(contender: Contender, folder: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Little of ours gets in; nothing is written outside the folder, and nothing looks for a network."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        "HOME": folder,
        "TMPDIR": folder,
        "PYTHONPATH": os.pathsep.join(map(str, (BASELINES, examples_dir()))),
        "PYTHONSAFEPATH": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "BENTOML_DO_NOT_TRACK": "True",
        "RAY_USAGE_STATS_ENABLED": "0",
        **contender.variables,
        **variables,
    }
