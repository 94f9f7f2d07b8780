"""A real server for an experiment: started, asked and ended from outside, as a user would."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from glowplug.bench.systems.processes import end_tree
from glowplug.client import Client
from glowplug.core.status import FunctionStatus

READY_S = 120.0
DEPLOY_S = 600.0
STAGED_S = 120.0
POLL_S = 0.1


class RunningServer:
    """A server's process and its address. `state_dir` is its own until it ends; `log` is its stderr there."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, agent_pid: int, state_dir: Path) -> None:
        self.process = process
        self.url = url
        self.agent_pid = agent_pid
        self.state_dir = state_dir
        self.log = _log(state_dir)
        self._client = Client(url)

    def functions(self) -> dict[str, FunctionStatus]:
        """Every deployed function by name."""
        return {each.name: each for each in self._client.functions()}

    def wait_deployed(
        self, count: int, on_ready: Callable[[int], object] = lambda ready: None
    ) -> dict[str, FunctionStatus]:
        """Waits until `count` functions are ready; `on_ready` hears again and again how many are.

        Raises RuntimeError with the reason when one failed, or when nothing moved for DEPLOY_S.
        """
        deadline_s, most = time.monotonic() + DEPLOY_S, 0
        while time.monotonic() < deadline_s:
            found = self.functions()
            for each in found.values():
                if each.state == "failed":
                    raise RuntimeError(f"deploying {each.name} failed: {each.error}")
            ready = sum(each.state == "ready" for each in found.values())
            on_ready(ready)
            if ready >= count:
                return found
            if ready > most:
                deadline_s, most = time.monotonic() + DEPLOY_S, ready
            time.sleep(POLL_S)
        raise RuntimeError(f"{most} of {count} functions were ready, and no other in {DEPLOY_S:.0f} s")

    def check_alive(self) -> None:
        """Raises RuntimeError with the end of its log when it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended with status {self.process.returncode}:\n{_tail(self.log)}")

    def stand_at(self, function: str, step: str, cache: str = "warm") -> None:
        """Brings a function to exactly this step, with its weights in the page cache or out of it.

        Raises GlowplugError when it cannot stand there.
        """
        move = self._client.climb if step == "parked" else self._client.descend
        move(function, step, cache)

    def holds(self, function: str) -> set[str]:
        """Where it holds something: `staged` for its zygote, `climbing` for what is on its way, and so on."""
        return {each.step for each in self._client.describe(function).held}

    def wait_staged(self, function: str) -> None:
        """Waits until its zygote is up, which an answer sets off in the background, and nothing else climbs.

        Raises RuntimeError when that takes longer than STAGED_S.
        """
        deadline_s = time.monotonic() + STAGED_S
        while "staged" not in (held := self.holds(function)) or "climbing" in held:
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"{function} is not staged in {STAGED_S:.0f} s: it holds {sorted(held)}")
            time.sleep(POLL_S)

    def preloads(self) -> dict[str, Any]:
        """What it counted of loading ahead."""
        found: dict[str, Any] = self._client.info()["preload"]
        return found

    def close(self) -> None:
        self._client.close()
        end_tree(self.process, grace_s=30.0)


@contextlib.contextmanager
def running_server(
    files: Sequence[Path],
    state_dir: Path,
    budget_bytes: int | None = None,
    options: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[RunningServer]:
    """`glowplug serve` on a free port, with nothing deployed but `files`; ended when the block is left.

    `variables` are added to its environment, which has no token: that is another server's. Its log continues
    the one that an earlier server left there. Raises RuntimeError with the end of its log when it does
    not come up.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    log = _log(state_dir)
    command = [sys.executable, "-P", "-m", "glowplug", "serve", *map(str, files), "--port", "0"]
    command += ["--state-dir", str(state_dir), "--json", *options]
    if budget_bytes is not None:
        command += ["--memory", str(budget_bytes)]
    with open(log, "ab") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL,
            env=_environment() | dict(variables or {}),
        )  # fmt: skip
    server: RunningServer | None = None
    try:
        ready = _ready(process, log)
        server = RunningServer(process, ready["url"], ready["agent_pid"], state_dir)
        yield server
    finally:
        if server is not None:
            server.close()
        else:
            end_tree(process)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "GLOWPLUG_TOKEN"}


def _log(state_dir: Path) -> Path:
    return state_dir / "server.log"


def _ready(process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """The first JSON line on the server's stdout that names its url."""
    assert process.stdout is not None
    for line in process.stdout:
        with contextlib.suppress(json.JSONDecodeError):
            said = json.loads(line)
            if isinstance(said, dict) and "url" in said:
                return said
    raise RuntimeError(f"the server ended with status {process.wait()} before it was ready:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
