"""What the node's processes tell, and what their ends mean: messages and pidfds become events."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from glowplug.core.events import CommandFailed, HeldChanged, InstanceExited, StepLost, StepReached
from glowplug.core.ids import InstanceId
from glowplug.core.ladder import Step
from glowplug.loader.errors import DeviceFailed, LoaderError
from glowplug.node import claims, printed, procfs
from glowplug.node.devices import Residence
from glowplug.node.isolation import namespaces
from glowplug.node.isolation.seats import Seat
from glowplug.node.messages import (
    ChildExited,
    Failed,
    Forked,
    ForkFailed,
    LetGo,
    PagesMapped,
    WorkerReady,
    ZygoteReady,
)  # fmt: skip
from glowplug.node.processes import Process, exit_status
from glowplug.node.roster import Held
from glowplug.transport.closing import close_strange
from glowplug.transport.frames import known_phases

if TYPE_CHECKING:
    from glowplug.node.agent import Agent

_MEASURE_AFTER_S = 1.0
_CODE_CHARS, _MESSAGE_CHARS = 100, 2000


class Reports:
    """Hears every process of one agent, in its event loop."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    def on_message(self, process: Process, message: Any, descriptors: list[int]) -> None:
        """Owns the descriptors. The process may be a function's own code: what it says is checked where
        others would pay for it."""
        if isinstance(message, Forked) and process.pending and len(descriptors) == 1:
            self._on_forked(process, message.pid, descriptors[0])
            return
        close_strange(descriptors)
        if isinstance(message, Failed):  # told on, it has to fit into a message with what it is about
            message = Failed(message.code[:_CODE_CHARS], message.message[:_MESSAGE_CHARS])
        if isinstance(message, Forked) or (isinstance(message, ForkFailed) and not process.pending):
            process.kill()  # nobody asked it to fork
        elif isinstance(message, ForkFailed):
            process.pending.popleft().never_born(message.reason[:_MESSAGE_CHARS])
        elif isinstance(message, PagesMapped):
            self.agent.weights.on_mapped(process)
        elif isinstance(message, ChildExited):
            process.child_exited(message.pid, message.exit_code)
        elif self.agent.builds.owns(process):
            self.agent.builds.on_message(process, message)
        elif self.agent.contexts.owns(process):
            self.agent.contexts.on_message(process, message)
        else:
            self._on_report(process.owner, message)

    def _on_forked(self, process: Process, pid: int, handle: int) -> None:
        child = process.pending.popleft()
        parent, held = process.owner, child.owner
        found = child_of(handle, pid, parent.seat)
        if found == "strange":
            close_strange([handle])
            process.kill()  # it speaks of somebody else's process, whom we would kill in its name
            child.never_born(f"{process.name} is not to be trusted")
            return
        process.children[pid] = child
        child.born(pid, handle)
        if found == "living":
            self.agent.standing_back.born(held)
            self.agent.births.born(held, self.agent.moves.submit)

    def _on_report(self, held: Held | None, message: Any) -> None:
        if held is None:
            return
        if isinstance(message, Failed):
            held.failed = message
        elif isinstance(message, ZygoteReady) and held.climb is not None:
            if message.threads > 1 or message.ties:
                held.failed = _unforkable(held, message)
                held.process.kill()
                return
            held.missing, held.left_out = message.missing, message.left_out
            if held.target.kind == "environment":
                self.agent.births.interpreters.imported(held.target.key, message.left_out)
            self._reached(held, message.held_bytes, known_phases(message.phases))
        elif isinstance(message, WorkerReady) and held.climb is not None:
            held_bytes = max(message.held_bytes, message.peak_bytes)
            self._reached(held, held_bytes, known_phases(message.phases))
            if not message.held_bytes:
                loop = asyncio.get_running_loop()
                loop.call_later(_MEASURE_AFTER_S, lambda: self.agent.spawn(self._measure(held)))
        elif isinstance(message, LetGo) and held.target.kind == "instance":
            self.agent.cancels.spare(int(held.target.key), message.request)

    async def _measure(self, held: Held) -> None:
        """Tells what a worker holds that was not primed: from outside, for it has requests to answer."""
        if not held.process.exited:
            held_bytes = await self.agent.on_disk(procfs.private_dirty_bytes, held.process.pid)
            if held_bytes:
                self.agent.emit(HeldChanged(held.target, held_bytes))

    def _reached(self, held: Held, held_bytes: int, phases: dict[str, float]) -> None:
        if held.ready:  # it said so before
            return
        held.ready = True
        self.agent.standing_back.come_forward(held)
        took_s, held.climbed_cpu_s = time.monotonic() - held.started_s, procfs.cpu_s(held.process.pid)
        if held.residence is None and claims.is_likely(held, held_bytes):
            self._tell_reached(held, took_s, held_bytes, phases)
        else:
            self.agent.spawn(self._reach(held, held.residence, took_s, held_bytes, phases))

    async def _reach(
        self,
        held: Held,
        residence: Residence | None,
        took_s: float,
        held_bytes: int,
        phases: dict[str, float],
    ) -> None:
        """The process is there, and its weights come to its device by themselves. What the climb took is its
        own time: that its copy waited for others is not a cost of this model."""
        held_bytes = await claims.held_bytes_of(held, held_bytes)
        if residence is not None and not held.process.exited:
            try:
                took_s = await residence.arrived(took_s)
            except DeviceFailed as error:
                held.failed, held.retriable = Failed("device_failed", str(error)), True
                held.process.kill()
                return
            except (LoaderError, OSError) as error:
                why = f"{held.function}: its weights cannot be fetched: {error}"
                held.failed, held.retriable = Failed("weights", why[:_MESSAGE_CHARS]), True
                held.process.kill()
                return
        if held.climb is None or held.process.exited or held.descend is not None:
            return
        climb = held.climb
        self._tell_reached(held, took_s, held_bytes, phases)
        if residence is not None:
            self.agent.contexts.prepare(climb, residence.device)

    def _tell_reached(self, held: Held, took_s: float, held_bytes: int, phases: dict[str, float]) -> None:
        climb, cpu_s = held.climb, held.climbed_cpu_s
        assert climb is not None
        self.agent.emit(StepReached(climb.id, held.target, climb.step, took_s, held_bytes, phases, cpu_s))
        held.climb = None

    def on_exit(self, process: Process, why: str, code: int | None) -> None:
        """`why` in words, or that the kernel ended it for its memory."""
        if process.popen is not None:
            namespaces.end_orphans()
            self.agent.spawn(exit_status(process.popen))
            self.agent.births.interpreters.refill_soon()
        self.agent.weights.on_exit(process)
        error, building = "", self.agent.builds.owns(process)
        if process.owner is not None:
            if ran_out_of_memory(process.owner, code):
                error = "out_of_memory"
                allowed = "functions may have here" if building else "memory= in its declaration allows"
                why = f"it needed more memory than {allowed} ({why})"
            self.agent.births.left(process.owner, self.agent.disk.submit)
            self.agent.standing_back.ended(process.owner)
        if building:
            self.agent.builds.on_exit(process, why, code, greedy=bool(error))
            return
        held = process.owner
        if held is None:
            return
        if self.agent.contexts.owns(process):
            self.agent.contexts.on_exit(process)
            return
        residence = held.residence
        self._forget(held)
        if residence is not None and held.climb is not None:
            # It may have taken a context along, and did not come so far that another was made.
            self.agent.contexts.prepare(held.climb, residence.device)
        self.agent.gangs.left(held)
        target, command = held.target, held.descend
        if command is not None:
            self.agent.emit(StepLost(target, command.step, command.why, command.id))
        elif held.climb is not None:
            failed = held.failed or Failed(
                error or "worker_died",
                f"{process.name} ended while it climbed: {why if error else process.last_words or why}",
            )
            permanent = held.failed is not None and not held.retriable
            self.agent.emit(CommandFailed(held.climb.id, target, failed.code, failed.message, permanent))
        elif target.kind == "instance":
            self.agent.emit(InstanceExited(InstanceId(int(target.key)), why, code, error or "worker_died"))
        else:
            fallen = Step.LOCAL if target.kind == "environment" else Step.IMPORTED
            self.agent.emit(StepLost(target, fallen, why))

    def on_lines(self, process: Process, stream: str, lines: list[bytes]) -> None:
        """What it printed goes to its function's log, as many lines of each read as are kept."""
        held = process.owner
        if held is not None:
            name = held.target.key.partition(".")[0] if held.target.kind in ("instance", "part") else ""
            instance = int(name or 0)
            shown = printed.texts(lines, self.agent.settings.log_lines_kept)
            for message in printed.told(held.function, instance, stream, shown):
                self.agent.tell(message)

    def _forget(self, held: Held) -> None:
        self.agent.roster.remove(held)
        self.agent.devices.left(held)
        if held.target.kind == "instance":
            self.agent.cancels.spare(int(held.target.key))


def _unforkable(held: Held, message: ZygoteReady) -> Failed:
    threads = message.threads
    if held.target.kind == "version":
        left = f"{threads} threads" if threads > 1 else message.ties[:_MESSAGE_CHARS]
        return Failed("unforkable", f"{left} after staging: it must not fork")
    return Failed(
        "build_failed", f"{threads} threads after importing the libraries: no process may be forked"
    )


def child_of(handle: int, pid: int, seat: Seat) -> Literal["living", "gone", "strange"]:
    """Whether a pidfd is of this process, and that of a user whom its zygote may make processes of. Of one
    that was reaped already nothing is known, and its number may be somebody else's."""
    try:
        whose = Path(f"/proc/self/fdinfo/{handle}").read_text()
        if f"Pid:\t{pid}\n" not in whose:
            return "gone" if "Pid:\t-1\n" in whose else "strange"
        user = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return "gone"
    return "living" if seat.owns(user) else "strange"


def ran_out_of_memory(held: Held, code: int | None) -> bool:
    """Whether the kernel ended it because it, or what was with it, held more than it may."""
    return code in (None, -signal.SIGKILL) and held.descend is None and held.seat.out_of_memory()
