"""Peers of the experiment `loading`: libraries that load weights, each in a process of its own.

with PeerProcess(PEERS["tensorizer"], "resnet50", weights, threads=[2]) as process:
    process.measure(weights, threads=2).first_answer_s
"""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from glowplug.bench.peers import peers_python
from glowplug.bench.peers.formats import Format
from glowplug.bench.peers.scripts import script_command, script_environment
from glowplug.bench.systems.processes import end_tree

READY_S = 300.0
MEASURE_S = 300.0


@dataclass(frozen=True)
class Peer:
    """One library. `script` is a module of `bench/baselines/loading`, `packages` what that imports.

    `schemes` are the URLs it can read besides local files, `architectures` the only ones that it has (None:
    any), `environment` what makes this peer of its library.
    """

    name: str
    script: str
    packages: tuple[str, ...]
    format: Format
    schemes: tuple[str, ...] = ()
    architectures: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def has(self, architecture: str) -> bool:
        return self.architectures is None or architecture in self.architectures


PEERS = {
    peer.name: peer
    for peer in (
        Peer("safetensors", "safetensors_assign", ("torch", "safetensors"), "safetensors"),
        Peer("torch_mmap", "torch_mmap", ("torch",), "torch"),
        Peer("transformers", "transformers_pretrained", ("transformers",), "transformers",
             architectures=("bert_base", "bert_large", "gpt2")),
        Peer("accelerate", "accelerate_checkpoint", ("accelerate",), "safetensors"),
        Peer("tensorizer", "tensorizer_stream", ("tensorizer",), "tensorizer",
             schemes=("http", "https", "s3")),
        Peer("fastsafetensors", "fastsafetensors_copy", ("fastsafetensors",), "safetensors"),
        # As it comes, it reads past the page cache, which is no help where the file lies in it.
        Peer("fastsafetensors_buffered", "fastsafetensors_copy", ("fastsafetensors",), "safetensors",
             environment={"FASTSAFETENSORS_ODIRECT": "0"}),
        Peer("runai", "runai_stream", ("runai_model_streamer",), "safetensors", schemes=("s3",)),
    )
}  # fmt: skip


class PeerMeasurement(msgspec.Struct, frozen=True):
    """One load and its first answer, in seconds. `phases` sum up to `first_answer_s`.

    `answer_digest` is BLAKE2b of the answer's float32 bytes: equal for equal answers, bit for bit.
    """

    first_answer_s: float
    second_forward_s: float
    answer_digest: str
    phases: dict[str, float]


def available(python: Path | None = None) -> dict[str, str | None]:
    """For each peer None, or why it cannot run. Imports them all in a process: takes seconds.

    `python` is the interpreter that has them, by default that of `make peers`.
    """
    python = python or peers_python()
    if not python.exists():
        return dict.fromkeys(PEERS, f"{python.parents[1].name} does not exist: run `make peers`")
    packages = sorted({package for peer in PEERS.values() for package in peer.packages})
    command = script_command(python, "check", *packages)
    done = subprocess.run(
        command, env={**os.environ, **script_environment()}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return dict.fromkeys(PEERS, f"{python} ended with status {done.returncode}: {done.stderr[-500:]}")
    reasons = json.loads(done.stdout.splitlines()[-1])
    return {
        name: next((reasons[package] for package in peer.packages if reasons[package]), None)
        for name, peer in PEERS.items()
    }


class PeerProcess:
    """A process that has imported a peer and run the architecture once on each number of `threads`.

    `architecture` is a name of `examples/architectures/zoo.py`, or `MODULE:NAME` of something like its
    entries in one of `folders`. `weights`, in the peer's format, serve the warm-up. `environment` is added to
    the process's, for a store's credentials. Constructing waits until it is ready.
    Raises RuntimeError when the peer fails, TimeoutError.
    """

    def __init__(
        self,
        peer: Peer,
        architecture: str,
        weights: Path | str,
        threads: Sequence[int],
        *,
        python: Path | None = None,
        folders: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._peer = peer
        self._process = subprocess.Popen(
            script_command(
                python or peers_python(), peer.script, architecture, str(weights), *map(str, threads)
            ),
            env={**os.environ, **script_environment(*folders), **peer.environment, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            self._reply(READY_S)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def measure(self, weights: Path | str, threads: int) -> PeerMeasurement:
        """Loads `weights`, a path or a URL of one of the peer's schemes, and runs them twice.

        What of the file lies in the page cache is the caller's concern; the process keeps nothing of it.
        Raises RuntimeError when the peer fails or `threads` is none that it warmed up, TimeoutError.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(
                json.dumps({"weights": str(weights), "threads": threads}).encode() + b"\n"
            )
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise RuntimeError(f"{self._peer.name} ended with status {self._process.wait()}") from error
        return msgspec.convert(self._reply(MEASURE_S), PeerMeasurement)

    def close(self) -> None:
        """Ends the process; a second call does nothing."""
        end_tree(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _reply(self, timeout_s: float) -> dict[str, Any]:
        """The next line, which the process writes in one piece."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            raise TimeoutError(f"{self._peer.name} said nothing for {timeout_s:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._peer.name} ended with status {self._process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise RuntimeError(f"{self._peer.name} failed: {reply['error']}")
        return reply
