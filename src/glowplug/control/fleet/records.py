"""What is remembered of devices. As control.records: plain, ordered, one snapshot."""

from __future__ import annotations

from statistics import median

import msgspec

from glowplug.control.fleet.tally import Tally
from glowplug.control.ledger import Ledger
from glowplug.control.queues import Queue
from glowplug.core.ids import DeviceId, FunctionId, InstanceId, NodeId, RequestId


class Batch(msgspec.Struct, gc=False):
    """Requests of one function that are to run together; `run_s` is what that was expected to take when it
    was bound."""

    function: FunctionId
    requests: dict[RequestId, None]
    run_s: float


class Running(msgspec.Struct, gc=False):
    """A batch in a worker: how many it began with, when, and for how long as far as was known."""

    size: int
    since_s: float
    expected_s: float


class Device(msgspec.Struct):
    """`residents` are ready to run; `loading` come, in the order they were asked for, or wait for room while
    they have no instance yet. `line` is bound here and waits for its model or its turn. `pace` is how much
    longer things take here than on the others, as measured. After a load that failed nothing new comes before
    `paused_until_s`, which is 0 when that is over. `context_key` is where the ledger of its node's memory has
    what a context process holds that waits for the next load; empty as long as there was none."""

    id: DeviceId
    node: NodeId
    at_once: int = 1
    context_bytes: int = 0
    context_key: str = ""
    residents: dict[FunctionId, InstanceId] = {}
    loading: dict[FunctionId, InstanceId | None] = {}
    line: list[Batch] = []
    line_s: float = 0.0
    """The expected runs of the whole line."""
    pinned: dict[FunctionId, int] = {}
    """By function how many batches of it stand in the line."""
    running: dict[InstanceId, Running] = {}
    pace: float = 1.0
    misses: int = 0
    missed: FunctionId | None = None
    """Whose load failed last, since one arrived."""
    paused_until_s: float = 0.0


class Fleet(msgspec.Struct):
    """All devices. `waiting` is bound to none; `lined` counts what stands in lines; `free` devices have
    nothing to do, `half_free` ones do one of computing and loading, and nothing waits in their line but for
    that; `open` ones could compute at once; `stalled` ones have loads that wait for room."""

    devices: dict[DeviceId, Device] = {}
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    waiting: Queue = msgspec.field(default_factory=Queue)
    waiting_by_function: dict[FunctionId, int] = {}
    where: dict[FunctionId, dict[DeviceId, None]] = {}
    free: dict[DeviceId, None] = {}
    open: dict[DeviceId, None] = {}
    ready: dict[FunctionId, None] = {}
    """The functions that wait and whose models lie on devices that are open."""
    half_free: dict[DeviceId, None] = {}
    stalled: dict[DeviceId, None] = {}
    short: dict[FunctionId, None] = {}
    """The functions that may want more copies than they found a place for."""
    lined: int = 0
    tally: Tally = msgspec.field(default_factory=Tally)

    @property
    def usual_pace(self) -> float:
        """The middle one. What is learned of a run and of its device is right in their product alone: where
        all devices slow together both take a part of that."""
        return median([device.pace for device in self.devices.values()] or [1.0])

    def leave(self, key: str) -> None:
        """What an instance holds on its device, if it is on one, is on its way out."""
        if key in self.ledger.entries:
            self.ledger.leave(key)

    def release(self, key: str) -> DeviceId | None:
        """It is gone; returns the device that has room for it."""
        entry = self.ledger.entries.get(key)
        if entry is None:
            return None
        self.ledger.release(key)
        return DeviceId(entry.node)
