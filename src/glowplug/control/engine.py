"""What turns commands into reality. `testing.engine_suite` proves an implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from glowplug.core.commands import Command, Dispatch, Lease, Reject, Revoke
from glowplug.core.events import Event

GatewayCommand = Dispatch | Lease | Revoke | Reject


class Engine(Protocol):
    """Does Build, AdmitGang, Climb, Promote, Descend and Cancel; tells by events how they went.

    - Build ends in Built or CommandFailed; Climb in StepReached or CommandFailed. After CommandFailed
      nothing of the target is left and its memory is free.
    - Descend always ends in StepLost carrying the command's id, also when the target was not there, and
      gives up a climb of that target that is under way. Memory is free when StepLost is emitted.
    - Cancel ends in RequestDone(ok=False), or after its grace in InstanceExited.
    - An instance that dies by itself is an InstanceExited, a zygote or a gang's part a StepLost without a
      command.
    - Commands for one target are done in their order; others in any.
    """

    def connect(self, emit: Callable[[Event], None]) -> None:
        """Called once, before any command. `emit` may be called from the event loop's thread only."""

    def submit(self, command: Command) -> None:
        """Never blocks, and never raises for what is the command's own failure."""

    async def close(self) -> None:
        """Ends everything it started. No event is emitted once it returned."""


class GatewayPort(Protocol):
    """How a gateway hears from the controller."""

    def on_command(self, command: GatewayCommand) -> None:
        """Never blocks and never raises."""
