"""Requests that are to stop, and the end of workers that do not let go of them."""

from __future__ import annotations

import asyncio
import signal

from glowplug.core.commands import Cancel
from glowplug.node.messages import CancelRequest
from glowplug.node.processes import Process


class Cancels:
    """Every request of this node that is being cancelled. Used in the agent's event loop."""

    def __init__(self) -> None:
        self._killers: dict[tuple[int, int], asyncio.TimerHandle] = {}
        """By instance and request: what happens to a worker that does not let go."""

    def start(self, command: Cancel, worker: Process) -> None:
        """Asks the worker to stop the request; kills it after the grace unless it is spared before."""
        worker.send(CancelRequest(command.request))
        worker.signal(signal.SIGUSR1)
        self.spare(command.instance, command.request)
        kill = asyncio.get_running_loop().call_later(command.grace_s, worker.kill)
        self._killers[command.instance, command.request] = kill

    def spare(self, instance: int, request: int | None = None) -> None:
        """Calls off the killing for one request, or for all."""
        for key in [k for k in self._killers if k[0] == instance and request in (None, k[1])]:
            self._killers.pop(key).cancel()
