"""How an environment's interpreter starts: from the one in reserve, or by executing a fresh one."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from glowplug.bundle.store import BundleStore
from glowplug.core.commands import Climb
from glowplug.node import imports, wire, zygote
from glowplug.node.isolation import identities, launch, limits
from glowplug.node.isolation.means import Means
from glowplug.node.isolation.seats import Seat, Seats
from glowplug.node.layers import BEGIN, carrying_layers, python_path
from glowplug.node.standby import Begin, Standby

Started = tuple["subprocess.Popen[bytes]", socket.socket, list[tuple[int, int]]]
"""A process, its control socket, and its streams' pipes."""
_REFILL_AFTER_S = 1.0
"""The requests that waited for an environment have the cores first."""
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ")
RUNTIME_TUNING = {
    # A team member that spins takes the core from the one it waits for whenever workers share cores, and in
    # the first moments after a fork. See docs/decisions/006.
    "GOMP_SPINCOUNT": "10000",
    # Activations come as huge pages: a tenth of the page faults in a first pass.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


class Interpreters:
    """Used in the agent's event loop. `threads` are the cores' of a function's workers together; `devices`
    are files of the machine's that any process may open."""

    def __init__(
        self, store: BundleStore, means: Means, seats: Seats, threads: int, devices: tuple[str, ...]
    ) -> None:
        self._store, self._means, self._seats = store, means, seats
        self._threads = threads
        self._devices = devices
        self._left_out: dict[str, dict[str, str]] = {}
        """By environment: libraries that it does well not to import, as found out once."""
        self.standby = Standby(self._variables(layered=False))

    def start(self, command: Climb, seat: Seat, python: Path | None, readable: tuple[str, ...]) -> Started:
        """Confined to `seat` and what is `readable`; of another interpreter's packages with `python`. Raises
        OSError."""
        key, home = command.target.key, self._seats.home(command.target.key)
        plan = self._plan(seat, home.parent, readable, network=command.spec.declaration.network)
        libraries, variables = list(command.spec.declaration.libraries), self._place(key, home)
        ready = self.standby.take(Begin(plan, libraries, variables)) if python is None else None
        if ready is not None:
            return ready.popen, ready.control, ready.pipes
        begin = [str(python), "-c", BEGIN] if python else [sys.executable, "-c", zygote.COMMAND]
        return _execute(plan, begin, libraries, self._variables(layered=python is not None) | variables)

    def imported(self, environment: str, left_out: dict[str, str]) -> None:
        """An environment's zygote is up; `left_out` are its libraries that it does well not to import."""
        self._left_out[environment] = left_out
        self.refill_soon()

    def refill_soon(self) -> None:
        """Whoever may have been taken from reserve has imported, or ended before."""
        asyncio.get_running_loop().call_later(_REFILL_AFTER_S, self.standby.refill)

    def _plan(self, seat: Seat, place: Path, readable: tuple[str, ...], *, network: bool) -> dict[str, Any]:
        """What `launch` gives up. `place` holds the folders of all its functions."""
        means, store = self._means, self._store
        rules = {
            "readable": [*readable, *map(str, (store.bundles, store.packs, store.uploads))],
            "writable": [str(place)],
            "devices": self._devices,
        }
        count = identities.RANGE if means.user_namespaces else 1
        return {
            "groups": seat.group.members_files if seat.group is not None else [],
            "tasks": limits.MAX_TASKS,
            "no_network": means.own_network and not network,
            "own_families": means.own_families and not network,
            "own_ipc": means.own_ipc,
            "ids": [seat.owner, count] if seat.owner is not None else None,
            "folder": str(seat.new_folder("zygote")),
            "landlock": rules if means.landlock else None,
        }

    def _variables(self, *, layered: bool) -> dict[str, str]:
        """What every environment's zygote sees: nothing of the server's own but where Python finds things."""
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        threads = str(self._threads)
        return kept | {
            **(carrying_layers() if layered else {"PYTHONPATH": python_path()}),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": threads,
            "GLOWPLUG_THREADS": threads,
            "OPENBLAS_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            **RUNTIME_TUNING,
        }

    def _place(self, environment_key: str, home: Path) -> dict[str, str]:
        """What it sees beside those."""
        left_out = self._left_out.get(environment_key)
        known = imports.carrying(imports.Imports(left_out=left_out)) if left_out else {}
        return {"HOME": str(home), "TMPDIR": str(home), **known}


def _execute(
    plan: dict[str, Any], begin: list[str], libraries: list[str], variables: dict[str, str]
) -> Started:
    """A fresh interpreter, by way of `launch`. Raises OSError."""
    ours, theirs = wire.socket_pair()
    pipes = wire.output_pipes()
    command = [*begin, str(theirs.fileno()), str(os.getpid()), *libraries]
    try:
        started = subprocess.Popen(
            [sys.executable, "-I", "-S", launch.__file__, json.dumps(plan | {"command": command})],
            stdin=subprocess.DEVNULL, stdout=pipes[0][1], stderr=pipes[1][1], pass_fds=(theirs.fileno(),),
            env=variables, start_new_session=True,
        )  # fmt: skip
    except OSError:
        ours.close()
        wire.close_all([pipes[0][0], pipes[1][0]])
        raise
    finally:
        theirs.close()
        wire.close_all([pipes[0][1], pipes[1][1]])
    return started, ours, pipes
