"""One cell of experiment `gateway`: a server alone on the machine, its answers checked, then under load."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from glowplug.bench.answers import difference
from glowplug.bench.apps import APPS
from glowplug.bench.gateway import wrk
from glowplug.bench.gateway.asks import TOLERANCE, Ask
from glowplug.bench.harness import running_server
from glowplug.bench.models import examples_dir

READY_S = 180.0
ANSWER_S = 30.0
POLL_S = 0.1


class Cell(msgspec.Struct, frozen=True):
    """What is measured: which system with which workload, over so many connections."""

    system: str
    workload: str
    connections: int


class Measured(msgspec.Struct, frozen=True):
    """One run of a cell. `difference` is that of its answers, before and after, from the right one."""

    load: wrk.Load
    difference: float
    ready_s: float


class Alive(Protocol):
    """A server, at whatever it does."""

    @property
    def url(self) -> str: ...

    def check_alive(self) -> None:
        """Raises RuntimeError with the reason when it has ended."""
        ...


def measure(
    start: contextlib.AbstractContextManager[Alive],
    ask: Ask,
    right: Any,
    *,
    connections: int,
    warm_s: int,
    duration_s: int,
    threads: int = 1,
) -> Measured:
    """Starts a server, waits for its first answer, checks it, loads it by so many threads, and checks again.

    Raises one of FAILURES when it gives no answer, or a wrong one, before it is timed.
    """
    began_s = time.monotonic()
    with start as server:
        first = first_answer(server, ask)
        ready_s = time.monotonic() - began_s
        check(first, ask, right)
        load(server.url, ask, connections, warm_s, threads)
        found = load(server.url, ask, connections, duration_s, threads)
        return Measured(found, max(difference(answer(server.url, ask), right) for _ in range(3)), ready_s)


def load(url: str, ask: Ask, connections: int, duration_s: int, threads: int = 1) -> wrk.Load:
    return wrk.run(
        url + ask.path, ask.headers, ask.body,
        connections=connections, duration_s=duration_s, threads=threads,
    )  # fmt: skip


def check(found: Any, ask: Ask, right: Any) -> None:
    """Raises RuntimeError when the answer is a wrong one."""
    off = difference(found, right)
    if not off <= TOLERANCE:
        raise RuntimeError(f"a wrong answer to {ask.path}, {off:.2g} from the right one: {str(found)[:200]}")


def first_answer(server: Alive, ask: Ask) -> Any:
    """Asks until there is an answer: servers listen before they can. Raises RuntimeError, TimeoutError."""
    deadline_s = time.monotonic() + READY_S
    while True:
        server.check_alive()
        try:
            return answer(server.url, ask)
        except FAILURES as error:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"no answer from {server.url} in {READY_S:.0f} s: {error}") from error
        time.sleep(POLL_S)


class Refused(RuntimeError):
    """An answer that is no 200, or cannot be read."""


FAILURES = (RuntimeError, OSError, http.client.HTTPException, subprocess.TimeoutExpired)
"""What goes wrong with a server that is measured: told, and the others are measured all the same."""


def answer(url: str, ask: Ask) -> Any:
    """One answer on a connection of its own. Raises OSError, HTTPException, Refused."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_S)
    with contextlib.closing(connection):
        connection.request("POST", ask.path, ask.body, dict(ask.headers))
        reply = connection.getresponse()
        content = reply.read()
    if reply.status != 200:
        raise Refused(f"status {reply.status}: {content[:300]!r}")
    try:
        return ask.read(content)
    except (ValueError, LookupError, TypeError) as error:
        raise Refused(f"an answer that cannot be read ({error!r}): {content[:300]!r}") from error


@contextlib.contextmanager
def start_ours(workload: str, threads: int, folder: Path) -> Iterator[Alive]:
    """`glowplug serve` with what the workload needs deployed on it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"minilm": examples_dir() / "embedder.py", "batched": examples_dir() / "batched.py"}
    file = files.get(workload, APPS / "served.py")
    with running_server([file], folder / "state", options=("--threads", str(threads))) as server:
        server.wait_deployed(2 if file == APPS / "served.py" else 1)
        yield server
