"""The node's agent: does what the controller commands on this machine, and reports what became of it.

One process, one event loop, one owner of every zygote and worker here. Long work on the disk goes to one
thread. It holds no decisions: what it cannot do it answers with CommandFailed.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bundle.store import BundleStore
from glowplug.core.commands import Build, Cancel, Climb, Descend, Promote, Target
from glowplug.core.events import CommandFailed, Event, HeldChanged, InstanceExited, StepLost, StepReached
from glowplug.core.ids import CommandId, InstanceId
from glowplug.core.ladder import Step
from glowplug.core.settings import NodeSettings
from glowplug.loader.pagecache import evict_page_cache, page_cache_bytes
from glowplug.node import procfs, wire
from glowplug.node.births import Births, Held
from glowplug.node.builds import Builds
from glowplug.node.messages import (
    AgentReady,
    CacheDone,
    CacheWeights,
    CancelRequest,
    ChildExited,
    Do,
    Failed,
    Forked,
    ForkFailed,
    FromServer,
    Happened,
    LetGo,
    MapPages,
    PagesMapped,
    Role,
    Said,
    StopAgent,
    WorkerReady,
    ZygoteReady,
)  # fmt: skip
from glowplug.node.processes import Process

_LINES_AT_ONCE = 5
"""The longest lines, of characters that became three bytes each, must still fit into one message."""

_MEASURE_AFTER_S = 1.0
_LEAVE_S = 3.0
"""How long the end of killed processes is waited for; the kernel ends them with us in any case."""


class Agent:
    """See the module. `server` is the agent's end of the pair it shares with the server process."""

    def __init__(self, settings: NodeSettings, server: socket.socket, isolation: dict[str, str]) -> None:
        self.settings = settings
        self.server = server
        self.isolation = isolation
        self.store = BundleStore(Path(settings.state_dir))
        self.scratch = Path(settings.run_dir) / "scratch"
        self.environments: dict[str, Held] = {}
        self.zygotes: dict[str, Held] = {}
        self.workers: dict[int, Held] = {}
        self.disk = ThreadPoolExecutor(1, "disk")
        callbacks = (self._on_message, self._on_exit, self._on_lines)
        self.births = Births(settings, self.store, self.scratch, callbacks)
        self.builds = Builds(self)
        self._receiver = wire.Receiver(server, FromServer)
        self._stopped = asyncio.Event()
        self._left = asyncio.Event()
        self._killers: dict[tuple[int, int], asyncio.TimerHandle] = {}
        """By instance and request: what happens to a worker that does not let go of a cancelled request."""
        self._mapping: dict[Process, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Serves until the server is gone or says stop; returns when everything it started is gone too."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.scratch.chmod(0o711)
        loop = asyncio.get_running_loop()
        loop.add_reader(self.server.fileno(), self._read_server)
        self._tell(AgentReady(self.isolation))
        await self._stopped.wait()
        for held in (*self.workers.values(), *self.zygotes.values(), *self.environments.values()):
            held.process.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._everyone_left(), _LEAVE_S)
        self.disk.shutdown(wait=False, cancel_futures=True)

    async def _everyone_left(self) -> None:
        while self.workers or self.zygotes or self.environments:
            self._left.clear()
            await self._left.wait()

    # what comes from the server

    def _read_server(self) -> None:
        while True:
            try:
                found = self._receiver.receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if found is None:
                self._stopped.set()
                asyncio.get_running_loop().remove_reader(self.server.fileno())
                return
            message, descriptors = found
            try:
                self._obey(message, descriptors)
            finally:
                wire.close_all(descriptors)

    def _obey(self, message: Any, descriptors: list[int]) -> None:
        if isinstance(message, StopAgent):
            self._stopped.set()
        elif isinstance(message, CacheWeights):
            self.spawn(self._cache(message))
        else:
            self._do(message, descriptors)

    def _do(self, message: Do, descriptors: list[int]) -> None:
        command = message.command
        try:
            if isinstance(command, Build):
                self.builds.start(command, message.env)
            elif isinstance(command, Climb):
                self._climb(command, message.env, descriptors)
            elif isinstance(command, Descend):
                self._descend(command)
            elif isinstance(command, Cancel):
                self._cancel(command)
            else:
                assert isinstance(command, Promote)  # one climb at a time needs no order yet
        except (OSError, ValueError) as error:  # no more processes or files, or a message that is too large
            if isinstance(command, Build):
                target = Target("build", command.node, command.spec.version)
                self.emit(CommandFailed(command.id, target, "unavailable", str(error)))
            elif isinstance(command, Climb):
                self.emit(CommandFailed(command.id, command.target, "unavailable", str(error)))

    # climbing

    def _climb(self, command: Climb, env: dict[str, str], descriptors: list[int]) -> None:
        kind = command.target.kind
        if kind == "environment":
            self.environments[command.target.key] = self.births.environment(command)
            return
        environment = self.environments.get(command.spec.environment_key)
        staged = self.zygotes.get(command.spec.version)
        parent = staged if kind == "instance" and command.origin == Step.STAGED else environment
        if parent is None or parent.process.exited or not parent.ready:
            self.fail(command, "unavailable", f"no zygote to fork {command.spec.function} from")
            return
        broken = [f"{name} ({parent.missing[name]})" for name in command.spec.declaration.libraries
                  if name in parent.missing]  # fmt: skip
        if broken:
            self.fail(
                command, "build_failed", f"libraries that cannot be imported: {', '.join(broken)}", True
            )
            return
        role: Role = "worker" if kind == "instance" else "stage"
        spec = command.spec
        held = self.births.child(
            parent, role, command.target, spec.function, spec.version,
            prime=command.prime, env=env, data=tuple(descriptors), climb=command,
            rehearse=command.facts is not None and command.facts.rehearsed,
        )  # fmt: skip
        (self.workers if kind == "instance" else self.zygotes)[self._key(command.target)] = held  # type: ignore[index]

    # descending and cancelling

    def _descend(self, command: Descend) -> None:
        target = command.target
        if target.kind == "weights":
            self.spawn(self._evict(command))
            return
        held = self._find(target)
        if held is None or held.process.exited:
            self.emit(StepLost(target, command.step, command.why, command.id))
            return
        held.descend = command
        held.process.kill()

    def _cancel(self, command: Cancel) -> None:
        held = self.workers.get(command.instance)
        if held is None:
            return
        held.process.send(CancelRequest(command.request))
        held.process.signal(signal.SIGUSR1)
        kill = asyncio.get_running_loop().call_later(command.grace_s, held.process.kill)
        self._spare(command.instance, command.request)
        self._killers[command.instance, command.request] = kill

    def _spare(self, instance: int, request: int | None = None) -> None:
        """Calls off the killing for one request, or for all."""
        for key in [k for k in self._killers if k[0] == instance and request in (None, k[1])]:
            self._killers.pop(key).cancel()

    # what comes from processes

    def _on_message(self, process: Process, message: Any, descriptors: list[int]) -> None:
        if isinstance(message, Forked):
            child = process.pending.popleft()
            process.children[message.pid] = child
            child.born(message.pid, descriptors[0])
            return
        wire.close_all(descriptors)
        if isinstance(message, ForkFailed):
            process.pending.popleft().never_born(message.reason)
        elif isinstance(message, PagesMapped):
            self._mapping.pop(process).set()
        elif isinstance(message, ChildExited):
            process.child_exited(message.pid, message.exit_code)
        elif self.builds.owns(process):
            self.builds.on_message(process, message)
        else:
            self._on_report(process.owner, message)

    def _on_report(self, held: Held | None, message: Any) -> None:
        if held is None:
            return
        if isinstance(message, Failed):
            held.failed = message
        elif isinstance(message, ZygoteReady) and held.climb is not None:
            if message.threads > 1 and held.target.kind == "version":
                held.failed = Failed(
                    "unforkable", f"{message.threads} threads after staging: it must not fork"
                )
                held.process.kill()
                return
            held.missing = message.missing
            self._reached(held, message.held_bytes, message.phases)
        elif isinstance(message, WorkerReady) and held.climb is not None:
            self._reached(held, max(message.held_bytes, message.peak_bytes), message.phases)
            if not message.held_bytes:
                loop = asyncio.get_running_loop()
                loop.call_later(_MEASURE_AFTER_S, lambda: self.spawn(self._measure(held)))
        elif isinstance(message, LetGo):
            self._spare(int(held.target.key), message.request)

    async def _measure(self, held: Held) -> None:
        """Tells what a worker holds that was not primed: from outside, for it has requests to answer."""
        if not held.process.exited:
            held_bytes = await self.on_disk(procfs.private_bytes, held.process.pid)
            if held_bytes:
                self.emit(HeldChanged(held.target, held_bytes))

    def _reached(self, held: Held, held_bytes: int, phases: dict[str, float]) -> None:
        assert held.climb is not None
        held.ready = True
        took_s = time.monotonic() - held.started_s
        self.emit(StepReached(held.climb.id, held.target, held.climb.step, took_s, held_bytes, phases))
        held.climb = None

    def _on_exit(self, process: Process, why: str, code: int | None) -> None:
        if process.popen is not None:
            process.popen.wait()
        if process in self._mapping:
            self._mapping.pop(process).set()
        if self.builds.owns(process):
            self.builds.on_exit(process, why, code)
            return
        held = process.owner
        if held is None:
            return
        self._forget(held)
        target, command = held.target, held.descend
        if command is not None:
            self.emit(StepLost(target, command.step, command.why, command.id))
        elif held.climb is not None:
            failed = held.failed or Failed(
                "worker_died", f"{process.name} ended while it climbed: {process.last_words or why}"
            )
            permanent = held.failed is not None
            self.emit(CommandFailed(held.climb.id, target, failed.code, failed.message, permanent))
        elif target.kind == "instance":
            self.emit(InstanceExited(InstanceId(int(target.key)), why, code))
        else:
            fallen = Step.LOCAL if target.kind == "environment" else Step.IMPORTED
            self.emit(StepLost(target, fallen, why))

    def _on_lines(self, process: Process, stream: str, lines: list[str]) -> None:
        held = process.owner
        if held is not None:
            instance = int(held.target.key) if held.target.kind == "instance" else 0
            for start in range(0, len(lines), _LINES_AT_ONCE):
                self._tell(Said(held.function, instance, stream, lines[start : start + _LINES_AT_ONCE]))

    # the page cache

    async def _cache(self, message: CacheWeights) -> None:
        manifest = self.store.manifest(message.version)  # type: ignore[arg-type]
        resident = 0
        if manifest is not None and manifest.pack:
            path = self.store.pack_path(manifest.pack)
            if not message.cached:
                await self._map_pages(message.version, False)
            await self.on_disk(_read_through if message.cached else evict_page_cache, path)
            if message.cached:
                await self._map_pages(message.version, True)
            resident = await self.on_disk(page_cache_bytes, path)
        self._tell(CacheDone(message.token, resident))

    async def _map_pages(self, version: str, mapped: bool) -> None:
        """Has the version's zygote, if there is one, map or unmap its weights; returns when it has."""
        staged = self.zygotes.get(version)
        if staged is not None and staged.ready and staged.process.send(MapPages(mapped)):
            done = self._mapping[staged.process] = asyncio.Event()
            await done.wait()

    async def _evict(self, command: Descend) -> None:
        manifest = self.store.manifest(command.target.key)  # type: ignore[arg-type]
        if manifest is not None and manifest.pack:
            await self.on_disk(evict_page_cache, self.store.pack_path(manifest.pack))
        self.emit(StepLost(command.target, Step.LOCAL, command.why, command.id))

    # small things

    async def on_disk(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.disk, call, *arguments)

    def spawn(self, work: Any) -> None:
        """Runs a coroutine to its end, held until then; its errors are printed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def emit(self, event: Event) -> None:
        self._tell(Happened(event))

    def fail(self, command: Climb, code: str, message: str, permanent: bool = False) -> None:
        self.emit(CommandFailed(CommandId(command.id), command.target, code, message, permanent))

    def _tell(self, message: msgspec.Struct) -> None:
        try:
            wire.send(self.server, message)
        except OSError:
            self._stopped.set()

    @staticmethod
    def _key(target: Target) -> str | int:
        return int(target.key) if target.kind == "instance" else target.key

    def _table(self, target: Target) -> dict[Any, Held]:
        tables: dict[str, dict[Any, Held]] = {
            "environment": self.environments,
            "version": self.zygotes,
            "instance": self.workers,
        }
        return tables[target.kind]

    def _find(self, target: Target) -> Held | None:
        return self._table(target).get(self._key(target))

    def _forget(self, held: Held) -> None:
        table, key = self._table(held.target), self._key(held.target)
        if table.get(key) is held:
            del table[key]
        if held.target.kind == "instance":
            self._spare(int(held.target.key))
        if held.home is not None:
            shutil.rmtree(held.home, ignore_errors=True)
        self._left.set()


def _read_through(path: Path) -> None:
    """Brings a file into the page cache."""
    buffer = bytearray(4 * 2**20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
