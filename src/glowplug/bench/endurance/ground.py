"""The ground that `endurance` stands on: one server after another on one folder, and all that is left there.

Every process of a run has the run's folder in its command line or as its working folder, for its server keeps
state and scratch below it: so a look through /proc finds each of them, also an orphan.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from glowplug.bench.harness import RunningServer, running_server
from glowplug.bench.live.load import Address
from glowplug.bench.systems.processes import command_line, command_name, descendants, living
from glowplug.bundle.store import BundleStore
from glowplug.client import Client
from glowplug.node import agent_main, on_device, standby
from glowplug.server.database import Database
from glowplug.server.gateways import process as gateway_process

Victim = Literal[
    "server", "agent", "standby", "environment", "function", "context", "worker", "build", "gateway"
]
VICTIMS: tuple[Victim, ...] = (
    "server", "agent", "standby", "environment", "function", "context", "worker", "build"
)  # fmt: skip
WITH_GATEWAYS: tuple[Victim, ...] = (*VICTIMS, "gateway")
"""Where there are gateways beside the server's own."""
_NAMES: dict[Victim, tuple[str, ...]] = {
    "gateway": (gateway_process.NAME[:15],),
    "standby": (standby.NAME[:15],),
    "environment": ("glowplug-zygote",),
    "function": ("stage:",),
    "context": (on_device.NAME,),
    "worker": ("worker:",),
    "build": ("build:", "probe:"),
}
_GONE_S = 10.0


class Ground:
    """One run's folder and the server on it. Its blocking methods are called from one thread at a time."""

    def __init__(self, folder: Path, budget_bytes: int, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self._scratch = folder / "scratch"
        self._scratch.mkdir(parents=True)
        folder.chmod(0o755)
        self._scratch.chmod(0o755)
        self._budget_bytes = budget_bytes
        self._options = options
        self._stack = contextlib.ExitStack()
        self.server: RunningServer | None = None
        self.client: Client | None = None

    def start(self) -> None:
        """Starts a server, instead of the one before it, which is ended if it still runs.

        Raises RuntimeError with the end of its log when it does not come up.
        """
        self.stop()
        self.server = self._stack.enter_context(
            running_server(
                (), self.state_dir, self._budget_bytes, self._options, {"TMPDIR": str(self._scratch)}
            )
        )
        self.client = self._stack.enter_context(Client(self.server.url))

    def stop(self) -> None:
        """Ends the server as a user would, if one runs."""
        self.server = self.client = None
        self._stack.close()

    def address(self) -> Address | None:
        """Where functions are called now."""
        server = self.server
        if server is None:
            return None
        parts = urlsplit(server.url)
        return parts.hostname or "", parts.port or 0

    def lasting(self) -> dict[str, int]:
        """The processes that outlive every function: the server, and its agent of the moment."""
        server = self.server
        if server is None:
            return {}
        found = {"server": server.process.pid}
        agents = self._agents(server.process.pid)
        return found | ({"agent": agents[0]} if agents else {})

    def victims(self, kind: Victim) -> list[int]:
        """The living processes of that kind, by their age."""
        server = self.server
        if server is None:
            return []
        if kind == "server":
            return living([server.process.pid])
        if kind == "agent":
            return self._agents(server.process.pid)
        found = [pid for pid in descendants(server.process.pid) if command_name(pid).startswith(_NAMES[kind])]
        return sorted(living(found))

    def kill(self, pid: int) -> bool:
        """SIGKILL. Whether it was still there. Only processes that `victims` named are ever given."""
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def processes(self) -> list[int]:
        """Every living process of this run, whoever its parent is."""
        return living([pid for pid in _all() if self._is_ours(pid)])

    def left_behind(self, within_s: float = _GONE_S) -> list[str]:
        """After `stop`: processes that still run after `within_s`, and files that are no part
        of the state: scratch, what is unfinished, bundles of no version and packs of no bundle."""
        deadline_s = time.monotonic() + within_s
        while (pids := self.processes()) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        found = [f"process {pid}: {command_name(pid)}" for pid in pids]
        found += [f"scratch/{path.name}" for path in self._scratch.iterdir()]
        found += [f"incoming/{path.name}" for path in (self.state_dir / "incoming").glob("*")]
        found += [str(path.relative_to(self.state_dir)) for path in self.state_dir.rglob(".new-*")]
        found += [str(path) for path in self.state_dir.glob("cgroups")]  # which says where groups are
        return found + self._unwanted()

    def _unwanted(self) -> list[str]:
        with contextlib.closing(Database(self.state_dir / "glowplug.db")) as database:
            versions = {stored.spec.version for stored in database.versions()}
        store = BundleStore(self.state_dir)
        manifests = [store.described(version) for version in versions]
        packs = {f"{manifest.pack}.pack" for manifest in manifests if manifest is not None}
        return [
            str(path.relative_to(self.state_dir))
            for folder, wanted in ((store.bundles, set(map(str, versions))), (store.packs, packs))
            for path in folder.iterdir()
            if path.name not in wanted
        ]

    def _agents(self, server_pid: int) -> list[int]:
        return [pid for pid in living(descendants(server_pid)) if command_name(pid) == agent_main.NAME]

    def _is_ours(self, pid: int) -> bool:
        mark = str(self.folder)
        if any(mark in word for word in command_line(pid)):
            return True
        with contextlib.suppress(OSError):
            return str(Path(f"/proc/{pid}/cwd").readlink()).startswith(mark)
        return False


def _all() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
