"""Requests that are to stop, and the end of workers that do not let go of them."""

from __future__ import annotations

import asyncio
import signal

from glowplug.core.commands import Cancel
from glowplug.node.messages import CancelRequest
from glowplug.node.processes import Process

_TIMES = 4
"""A worker is signalled in one grace: one signal may come just before a system call that waits, when Python
looks for none any more and the call is not interrupted either."""


class Cancels:
    """Every request of this node that is being cancelled. Used in the agent's event loop."""

    def __init__(self) -> None:
        self._next: dict[tuple[int, int], asyncio.TimerHandle] = {}
        """By instance and request: what happens to a worker that does not let go."""

    def start(self, command: Cancel, worker: Process) -> None:
        """Asks the worker to stop the request; kills it after the grace unless it is spared before."""
        worker.send(CancelRequest(command.request))
        self.spare(command.instance, command.request)
        self._signal(command, worker, _TIMES)

    def _signal(self, command: Cancel, worker: Process, times: int) -> None:
        """So many times in what is left of the grace, and then the end."""
        if not times:
            worker.kill()
            return
        worker.signal(signal.SIGUSR1)
        later = asyncio.get_running_loop().call_later
        self._next[command.instance, command.request] = later(
            command.grace_s / _TIMES, self._signal, command, worker, times - 1
        )

    def spare(self, instance: int, request: int | None = None) -> None:
        """Calls off the killing for one request, or for all."""
        for key in [k for k in self._next if k[0] == instance and request in (None, k[1])]:
            self._next.pop(key).cancel()
