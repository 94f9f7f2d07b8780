"""Looks again and again at what others on this machine leave of its memory, and tells the controller what
its node may hold."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import structlog

from glowplug.core.events import Event, PressureChanged
from glowplug.core.ids import NodeId
from glowplug.core.status import NodeStatus
from glowplug.core.units import show_bytes
from glowplug.node.machine_memory import MachineMemory, read_memory
from glowplug.policy.pressure import Outside, Pressure

log = structlog.get_logger("glowplug.pressure")
_LOOK_EVERY_S = 1.0


class PressureWatch:
    """Of the one node of a machine. `nodes` tells how it stands; `root` is where /proc and /sys are.

    Where the files do not say, the node keeps what it was granted, and the log has one line about it.
    """

    def __init__(
        self,
        root: Path,
        least_bytes: int,
        nodes: Callable[[], list[NodeStatus]],
        post: Callable[[Event], None],
        clock: Callable[[], float],
    ) -> None:
        self._root = root
        self._least_bytes = least_bytes
        self._nodes = nodes
        self._post = post
        self._clock = clock
        self._pressure: Pressure | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_blind = False

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Again is not an error."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            found = await asyncio.to_thread(self._read)
            if found is not None:
                self.look(found)
            await asyncio.sleep(_LOOK_EVERY_S)

    def _read(self) -> MachineMemory | None:
        try:
            found = read_memory(self._root)
        except (OSError, ValueError) as error:
            if not self._is_blind:
                log.warning("what others leave of the memory cannot be seen", error=str(error))
            self._is_blind = True
            return None
        self._is_blind = False
        return found

    def look(self, found: MachineMemory) -> None:
        """Tells the controller when the node's budget is another one by that. While the node is gone there
        is none."""
        for node in self._nodes():
            pressure = self._pressure
            if pressure is None or pressure.granted_bytes != node.granted_bytes:
                pressure = self._pressure = Pressure(node.granted_bytes, self._least_bytes)
            own_bytes = node.reserved_bytes - node.cached_bytes
            outside = Outside(found.total_bytes, found.available_bytes, own_bytes, bool(found.stalled))
            budget_bytes = pressure.budget(outside, node.budget_bytes, self._clock())
            if budget_bytes != node.budget_bytes:
                tell = log.warning if budget_bytes < node.budget_bytes else log.info
                tell(
                    "others leave less memory" if budget_bytes < node.budget_bytes else "memory is back",
                    node=node.node, budget=show_bytes(budget_bytes), granted=show_bytes(node.granted_bytes),
                    available=show_bytes(found.available_bytes),
                )  # fmt: skip
                self._post(PressureChanged(NodeId(node.node), budget_bytes))
