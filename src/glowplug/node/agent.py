"""The node's agent: does what the controller commands on this machine, and reports what became of it.

One process, one event loop, one owner of every zygote and worker here. Long work on the disk goes to one
thread. It holds no decisions: what it cannot do it answers with CommandFailed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bundle.artifacts import open_artifacts
from glowplug.bundle.store import BundleStore
from glowplug.bundle.trees import remove_tree
from glowplug.core.commands import AdmitGang, Build, Cancel, Climb, Descend, Promote, Target
from glowplug.core.events import CommandFailed, Event, StepLost
from glowplug.core.ids import CommandId
from glowplug.core.priority import Priority
from glowplug.core.settings import NodeSettings
from glowplug.node import wire
from glowplug.node.births import Births
from glowplug.node.builds import Builds
from glowplug.node.cancels import Cancels
from glowplug.node.climbs import Climbs
from glowplug.node.contexts import Contexts
from glowplug.node.devices import Devices
from glowplug.node.environments import Environments
from glowplug.node.gangs import Gangs
from glowplug.node.isolation.means import Means
from glowplug.node.isolation.seats import Seats
from glowplug.node.messages import (
    AgentReady,
    CacheDone,
    CacheWeights,
    Disturb,
    Do,
    FromServer,
    Happened,
    RemovePackages,
    StopAgent,
)  # fmt: skip
from glowplug.node.remote import RemoteClimbs
from glowplug.node.reports import Reports
from glowplug.node.roster import Roster
from glowplug.node.standing_back import StandingBack
from glowplug.node.weights import Weights

_LEAVE_S = 3.0
"""How long the end of killed processes is waited for; the kernel ends them with us in any case."""


class Agent:
    """See the module. `server` is the agent's end of the pair it shares with the server process;
    `private_files` are settings that only the server's user may read (installation.private_files)."""

    def __init__(
        self, settings: NodeSettings, server: socket.socket, means: Means, private_files: dict[str, bytes]
    ) -> None:
        self.settings = settings
        self.server = server
        self.isolation = means.words
        self.private_files = private_files
        self.artifacts = open_artifacts(settings.artifacts)
        self.store = BundleStore(Path(settings.state_dir), self.artifacts)
        self.scratch = Path(settings.run_dir) / "scratch"
        self.roster = Roster()
        self.disk = ThreadPoolExecutor(1, "disk")
        self.moves = ThreadPoolExecutor(1, "moves")
        """Moves processes to their control groups: each may take a while, and none waits for the disk."""
        reports = Reports(self)
        callbacks = (reports.on_message, reports.on_exit, reports.on_lines)
        self.seats = Seats(
            means, self.scratch, settings.budget_bytes, self.disk.submit, len(settings.devices)
        )
        self.births = Births(settings, self.store, means, self.seats, callbacks)
        self.standing_back = StandingBack(means.groups, self.moves.submit)
        self.builds = Builds(self)
        self.weights = Weights(self)
        self.environments = Environments(self)
        self.climbs = Climbs(self)
        self.remote = RemoteClimbs(self)
        self.devices = Devices(self)
        self.contexts = Contexts(self)
        self.gangs = Gangs(self)
        self.cancels = Cancels()
        self._receiver = wire.Receiver(server, FromServer)
        self._stopped = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Serves until the server is gone or says stop; returns when everything it started is gone too."""
        remove_tree(self.scratch)  # of an agent before this one
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.scratch.chmod(0o711)
        self.environments.clean_up()
        for unfinished in self.store.packs.glob(".new-*"):
            unfinished.unlink(missing_ok=True)  # what an agent before this one was bringing here
        loop = asyncio.get_running_loop()
        loop.add_reader(self.server.fileno(), self._read_server)
        self.tell(AgentReady(self.isolation, self.devices.specs))
        self.births.interpreters.standby.refill()
        await self._stopped.wait()
        self.births.interpreters.standby.close()
        for held in (*self.contexts.everyone(), *self.roster.everyone()):
            held.process.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.roster.empty(), _LEAVE_S)
        self.disk.shutdown(wait=False, cancel_futures=True)
        self.moves.shutdown(wait=False, cancel_futures=True)

    # what comes from the server

    def _read_server(self) -> None:
        for found in self._receiver.waiting():
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
        elif isinstance(message, RemovePackages):
            self.spawn(self.environments.remove(message))
        elif isinstance(message, Disturb):
            self.spawn(self.devices.disturb(message))
        else:
            self._do(message, descriptors)

    def _do(self, message: Do, descriptors: list[int]) -> None:
        command = message.command
        try:
            if isinstance(command, Build):
                self.builds.start(command, message.env)
            elif isinstance(command, AdmitGang):
                self.gangs.open(command)
            elif isinstance(command, Climb):
                self.climbs.start(command, message.env, descriptors)
            elif isinstance(command, Descend):
                self._descend(command)
            elif isinstance(command, Cancel):
                self._cancel(command)
            else:
                assert isinstance(command, Promote)
                self._promote(command)
        except (OSError, ValueError) as error:  # no more processes or files, or a message that is too large
            if isinstance(command, Build):
                target = Target("build", command.node, command.spec.version)
                self.emit(CommandFailed(command.id, target, "unavailable", str(error)))
            elif isinstance(command, Climb):
                self.fail(command, "unavailable", str(error))

    # descending and cancelling

    def _descend(self, command: Descend) -> None:
        target = command.target
        if target.kind == "weights":
            self.spawn(self.weights.evict(command))
            return
        if target.kind == "build":
            self.builds.descend(command)
            return
        held = self.roster.find(target)
        waited = self.remote.give_up(target) or self.environments.give_up(target)
        if held is None:
            self.gangs.gave_up(target)
        if waited or held is None or held.process.exited:
            self.emit(StepLost(target, command.step, command.why, command.id))
            return
        held.descend = command
        self.standing_back.hurry(held)
        held.process.end()

    def _promote(self, command: Promote) -> None:
        self.remote.promote(command.climb, command.priority)
        if command.priority > Priority.BACKGROUND:
            for held in self.roster.climbing(command.climb):
                self.standing_back.come_forward(held)

    def _cancel(self, command: Cancel) -> None:
        held = self.roster.workers.get(command.instance)
        if held is not None:
            self.cancels.start(command, held.process)

    async def _cache(self, message: CacheWeights) -> None:
        """Answers also when it could not be done, with an error that is printed: somebody waits."""
        resident_bytes = 0
        try:
            resident_bytes = await self.weights.cache(message)
        finally:
            self.tell(CacheDone(message.token, resident_bytes))

    # small things

    async def on_disk(self, call: Any, *arguments: Any) -> Any:
        """What `call` returns or raises, in the one thread for the disk: after all that was asked before."""
        return await asyncio.get_running_loop().run_in_executor(self.disk, call, *arguments)

    def spawn(self, work: Any) -> None:
        """Runs a coroutine to its end, held until then; its errors are printed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def emit(self, event: Event) -> None:
        """To the controller, in this order. Raises ValueError when it does not fit into a message."""
        self.tell(Happened(event))

    def fail(self, command: Climb, code: str, message: str, permanent: bool = False) -> None:
        """The climb's outcome; one that is not `permanent` the controller tries again later. `code` is of
        core.errors."""
        self.gangs.gave_up(command.target)
        self.emit(CommandFailed(CommandId(command.id), command.target, code, message, permanent))

    def tell(self, message: msgspec.Struct) -> None:
        """To the server; without one the agent stops. Raises ValueError for one that is too large."""
        try:
            wire.send(self.server, message)
        except OSError:
            self._stopped.set()
