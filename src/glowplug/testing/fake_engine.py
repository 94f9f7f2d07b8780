"""An engine whose outcomes are told to it: at once, late, never, or badly."""

from __future__ import annotations

from collections.abc import Callable

from glowplug.core.commands import AdmitGang, Build, Cancel, Climb, Command, Descend, Promote, Target
from glowplug.core.events import (
    Built,
    CommandFailed,
    Event,
    InstanceExited,
    RequestDone,
    StepLost,
    StepReached,
)
from glowplug.core.ids import CommandId, InstanceId, NodeId
from glowplug.core.ladder import Step
from glowplug.core.specs import BundleFacts

Pending = Build | Climb | Descend | Cancel


class FakeEngine:
    """Keeps the promises of control.engine.Engine; `pending` waits for `succeed`, `fail` or `exit`.

    `facts` is what every build finds out; `held_bytes` what a target holds once it has climbed, and `cpu_s`
    what that took of a processor.
    """

    def __init__(self, facts: BundleFacts | None = None, took_s: float = 0.05) -> None:
        self.facts = facts or BundleFacts(
            weight_bytes=1000, staged_bytes=100, parked_bytes=100, peak_bytes=200
        )
        self.took_s = took_s
        self.cpu_s: float | None = None
        self.held_bytes: Callable[[Target], int] = lambda target: 100
        self.submitted: list[Command] = []
        self.pending: dict[CommandId, Pending] = {}
        self.overtaken: list[Build | Climb] = []
        """Their targets were taken down, which may have crossed their outcome: see `cross`."""
        self._emit: Callable[[Event], None] | None = None
        self._up: set[Target] = set()

    def connect(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit

    def submit(self, command: Command) -> None:
        self.submitted.append(command)
        if isinstance(command, Descend):
            for other in list(self.pending.values()):
                if self._target(other) == command.target and not isinstance(other, Descend):
                    del self.pending[other.id]
                    if isinstance(other, (Build, Climb)):
                        self.overtaken.append(other)
        if isinstance(command, (Build, Climb, Descend, Cancel)):
            self.pending[command.id] = command
        elif not isinstance(command, (AdmitGang, Promote)):
            raise TypeError(f"not an engine's command: {command!r}")

    async def close(self) -> None:
        self.pending.clear()
        self._emit = None

    def succeed(self, number: CommandId) -> None:
        """The outcome that was wished for."""
        command = self.pending.pop(number)
        if isinstance(command, Build):
            self._tell(Built(number, command.spec.version, command.node, self.facts, self.took_s))
        elif isinstance(command, Climb):
            self._up.add(command.target)
            self._tell(self._reached(command))
        elif isinstance(command, Descend):
            self._up.discard(command.target)
            self._tell(StepLost(command.target, command.step, command.why, number))
        else:
            self._tell(RequestDone(command.request, command.instance, False, self.took_s))

    def fail(
        self,
        number: CommandId,
        code: str = "unavailable",
        message: str = "bad luck",
        *,
        permanent: bool = False,
    ) -> None:
        """A build or climb ends badly, and leaves nothing."""
        command = self.pending[number]
        if isinstance(command, (Build, Climb)):
            del self.pending[number]
            self._tell(CommandFailed(number, self._target(command), code, message, permanent))

    def cross(self, command: Build | Climb, *, failed: bool = False) -> None:
        """What was overtaken had ended already, and this is told only now."""
        self.overtaken.remove(command)
        if failed:
            target = self._target(command)
            self._tell(CommandFailed(command.id, target, "unavailable", "bad luck"))
        elif isinstance(command, Build):
            self._tell(Built(command.id, command.spec.version, command.node, self.facts, self.took_s))
        else:
            self._tell(self._reached(command))

    def exit(self, target: Target, why: str = "killed", code: str = "worker_died") -> None:
        """An instance or a zygote dies, whatever it was doing."""
        self.drop(target, descents=False)
        if target.kind == "instance":
            self._tell(InstanceExited(InstanceId(int(target.key)), why, -9, code))
        else:
            self._tell(StepLost(target, Step.LOCAL, why))

    def drop(self, target: Target, *, descents: bool = True) -> None:
        """It is gone, and nobody is told; `descents` too will have no outcome."""
        self._up.discard(target)
        for command in list(self.pending.values()):
            if self._target(command) == target and (descents or not isinstance(command, Descend)):
                del self.pending[command.id]
                if descents and isinstance(command, Climb):
                    self.overtaken.append(command)

    def forget(self, node: NodeId) -> None:
        """The node is gone with all that it was doing."""
        self._up = {target for target in self._up if target.node != node}
        for command in list(self.pending.values()):
            if isinstance(command, Cancel) or self._target(command).node == node:
                del self.pending[command.id]

    def answer_all(self, limit: int = 1000) -> None:
        """Everything goes well until nothing is pending. Raises RuntimeError when that takes too long."""
        for _ in range(limit):
            if not self.pending:
                return
            self.succeed(next(iter(self.pending)))
        raise RuntimeError(f"still pending after {limit} outcomes")

    @property
    def up(self) -> frozenset[Target]:
        """What has climbed and neither descended nor died."""
        return frozenset(self._up)

    def _tell(self, event: Event) -> None:
        if self._emit is not None:
            self._emit(event)

    def _reached(self, climb: Climb) -> StepReached:
        held_bytes = self.held_bytes(climb.target)
        return StepReached(climb.id, climb.target, climb.step, self.took_s, held_bytes, cpu_s=self.cpu_s)

    @staticmethod
    def _target(command: Pending) -> Target:
        if isinstance(command, Build):
            return Target("build", command.node, command.spec.version)
        if isinstance(command, Cancel):
            return Target("instance", NodeId(""), str(command.instance))
        return command.target
