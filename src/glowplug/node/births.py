"""How processes begin on a node: an environment's zygote by exec, every other by a fork of a zygote."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from glowplug.bundle.store import BundleStore
from glowplug.core.commands import Climb, Target
from glowplug.core.ids import VersionId
from glowplug.core.settings import NodeSettings
from glowplug.core.specs import FunctionSpec
from glowplug.node import guard, imports, share, wire, zygote
from glowplug.node.layers import BEGIN, carrying_layers, python_path
from glowplug.node.messages import Fork, Role
from glowplug.node.processes import OnExit, OnLines, OnMessage, Process
from glowplug.node.roster import Held

_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ")
_RUNTIME_TUNING = {
    # A team member that spins takes the core from the one it waits for whenever workers share cores, and in
    # the first moments after a fork. See docs/decisions/006.
    "GOMP_SPINCOUNT": "10000",
    # Activations come as huge pages: a tenth of the page faults in a first pass.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


class Births:
    """Starts processes and wires them to the agent's callbacks. Used in the agent's event loop."""

    def __init__(
        self,
        settings: NodeSettings,
        store: BundleStore,
        scratch: Path,
        callbacks: tuple[OnMessage, OnExit, OnLines],
    ) -> None:
        self._store = store
        self._scratch = scratch
        self._callbacks = callbacks
        self._threads = settings.threads or len(os.sched_getaffinity(0))
        self._drop = settings.drop_privileges and os.geteuid() == 0
        self.left_out: dict[str, dict[str, str]] = {}
        """By environment: libraries that it does well not to import, as found out once."""

    def uid(self, environment_key: str) -> int | None:
        """The user that processes of this environment run as; None is our own."""
        return guard.uid_for(environment_key) if self._drop else None

    def folder(self, name: str, environment_key: str) -> Path:
        """A scratch folder that belongs to the environment's user. Raises OSError."""
        path = self._scratch / name
        path.mkdir(mode=0o700, exist_ok=True)
        uid = self.uid(environment_key)
        if uid is not None:
            os.chown(path, uid, uid)
        return path

    def environment(self, command: Climb, python: Path | None = None, environment_s: float = 0.0) -> Held:
        """A fresh interpreter, unprivileged from the start, that imports the libraries. Raises OSError.

        `python` is that of an environment of its own, which took `environment_s` to build; else it is ours.
        """
        key = command.target.key
        uid = self.uid(key)
        home = self.folder(f"env-{command.id}", key)
        ours, theirs = wire.socket_pair()
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
        arguments = [str(theirs.fileno()), str(os.getpid()), *command.spec.declaration.libraries]
        first = [str(python), "-c", BEGIN] if python else [sys.executable, "-c", zygote.COMMAND]
        try:
            started = subprocess.Popen(
                [*first, *arguments],
                stdin=subprocess.DEVNULL, stdout=pipes[0][1], stderr=pipes[1][1], pass_fds=(theirs.fileno(),),
                cwd=home, env=self._variables(key, home, python is not None), start_new_session=True,
                user=uid, group=uid, extra_groups=[] if uid is not None else None,
            )  # fmt: skip
        except OSError:
            ours.close()
            wire.close_all([pipes[0][0], pipes[1][0]])
            raise
        finally:
            theirs.close()
            wire.close_all([pipes[0][1], pipes[1][1]])
        process = self._process(f"environment {key}", ours, pipes)
        process.popen = started
        process.born(started.pid, os.pidfd_open(started.pid))
        held = Held(command.target, process, command, time.monotonic(), command.spec.function, home=home)
        held.environment_s = environment_s
        process.owner = held
        return held

    def child(
        self,
        parent: Held,
        role: Role,
        target: Target,
        function: str,
        version: VersionId,
        *,
        prime: bool = False,
        env: dict[str, str] | None = None,
        data: tuple[int, ...] = (),
        climb: Climb | None = None,
        **more: Any,
    ) -> Held:
        """Asks `parent` for a child with its own control socket and output pipes. Raises OSError."""
        manifest = self._store.described(version)
        pack = str(self._store.pack_path(manifest.pack)) if manifest is not None and manifest.pack else ""
        instance = int(target.key) if target.kind == "instance" else 0
        ours, theirs = wire.socket_pair()
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
        process = self._process(f"{role} of {function}", ours, pipes)
        held = process.owner = Held(target, process, climb, time.monotonic(), function)
        bundle = str(self._store.bundle_path(version))
        message = Fork(
            role, function, version, bundle, pack, instance,
            prime=prime, env=env or {}, sent_s=time.monotonic(), environment_s=parent.environment_s, **more,
        )  # fmt: skip
        asked = parent.process.fork(message, process, (theirs.fileno(), pipes[0][1], pipes[1][1], *data))
        theirs.close()
        wire.close_all([pipes[0][1], pipes[1][1]])
        if not asked:
            why = f"{parent.process.name} is gone"
            asyncio.get_running_loop().call_soon(process.never_born, why)
        return held

    def share(self, spec: FunctionSpec, *, building: bool = False) -> dict[str, int]:
        """What a child of this function takes of the cores, for its Fork message."""
        return {"nice": share.nice_of(spec, building), "threads": share.threads_of(spec, self._threads)}

    def _process(self, name: str, control: Any, pipes: list[tuple[int, int]]) -> Process:
        process = Process(name, control, *self._callbacks)
        process.capture(pipes[0][0], "stdout")
        process.capture(pipes[1][0], "stderr")
        return process

    def _variables(self, environment_key: str, home: Path, layered: bool) -> dict[str, str]:
        """What an environment's zygote sees: nothing of the server's own but where Python finds things."""
        left_out = self.left_out.get(environment_key)
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        threads = str(self._threads)
        return kept | {
            "HOME": str(home),
            "TMPDIR": str(home),
            **(carrying_layers() if layered else {"PYTHONPATH": python_path()}),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": threads,
            "GLOWPLUG_THREADS": threads,
            "OPENBLAS_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            **_RUNTIME_TUNING,
            **(imports.carrying(imports.Imports(left_out=left_out)) if left_out else {}),
        }
