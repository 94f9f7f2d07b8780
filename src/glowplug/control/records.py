"""What the controller remembers. Plain records, so that a snapshot is one msgpack message.

A `dict[X, None]` is an ordered set: removal is O(1) and the order survives a snapshot, which replay needs.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from glowplug.control.fleet.records import Fleet
from glowplug.control.ledger import Ledger
from glowplug.control.preloading.records import Preloads
from glowplug.control.queues import Queue
from glowplug.core.commands import Target
from glowplug.core.ids import (
    CommandId,
    DeviceId,
    FunctionId,
    GatewayId,
    InstanceId,
    NodeId,
    RequestId,
    VersionId,
)
from glowplug.core.ladder import Step
from glowplug.core.specs import BundleFacts, FunctionSpec

Phase = Literal["climbing", "up", "descending"]
Slot = Literal["", "idle", "busy", "climbing", "leased"]


class Request(msgspec.Struct, gc=False):
    """Between RequestArrived and its answer; `cancelling` is answered already, but still runs.

    `rank` is its class (core.priority), on devices a higher one once it was passed over often enough;
    `started` that a worker may have begun it; `stopping` that the engine was told to stop it, for which a
    request that waits in its worker's socket has to be the next.
    A `lined` one stands in the line of `device`; `skips` is its scheduling policy's.
    """

    id: RequestId
    function: FunctionId
    gateway: GatewayId
    deadline_s: float
    arrived_s: float
    rank: int
    state: Literal["queued", "lined", "bound", "cancelling"] = "queued"
    instance: InstanceId | None = None
    device: DeviceId | None = None
    skips: int = 0
    started: bool = False
    stopping: bool = False
    retried: bool = False


class Holding(msgspec.Struct):
    """Something that stands on the ladder at a node and has bytes in the ledger under `key`.

    `needs` are the keys of what it stands on; `waiters` the functions to look at again when it arrives
    or is gone; `command` the climb or descent under way.
    """

    key: str
    target: Target
    function: FunctionId | None
    version: VersionId | None
    step: Step
    phase: Phase
    since_s: float
    needs: tuple[str, ...] = ()
    command: CommandId | None = None
    priority: int = 0
    waiters: dict[FunctionId, None] = {}
    phase_of_climb: str = ""
    """What the climb under way last said it was at."""


class LeaseState(msgspec.Struct):
    """`in_flight` and `stuck` are what the gateway told last, `in_flight_before` the time before; it was lent
    at `since_s`. While it is called back `slots` are what still runs under it, as soon as that was told."""

    gateway: GatewayId
    since_s: float
    expires_s: float = 0.0
    slots: int = 1
    in_flight: int = 0
    in_flight_before: int = 0
    stuck: bool = False
    revoking: bool = False


class Instance(msgspec.Struct):
    """A worker. `slot` is the index of its version it stands in, empty once it drains; `bound` what the
    controller sent there, in that order; `busy_since_s` when the first of those began, as far as is known.
    Its slots are lent to one gateway, or in parts to several; `gateway` is the one that was sent for last.
    On a `device` it is that model's only one there, and never lent. `parts` are the keys of the other workers
    of a gang. One with a `host` is loaded inside that one's sandbox, and takes no room but there. One that is
    not `loaded` is a sandbox with nothing in it. One was climbed `ahead` when nobody waited for that, and is
    `asked_for` when a request began it."""

    id: InstanceId
    key: str
    node: NodeId
    function: FunctionId
    version: VersionId
    origin: Step
    used_s: float
    uses: int = 0
    device: DeviceId | None = None
    parts: tuple[str, ...] = ()
    host: InstanceId | None = None
    loaded: bool = True
    ahead: bool = False
    asked_for: bool = False
    busy_since_s: float = 0.0
    slot: Slot = ""
    bound: dict[RequestId, None] = {}
    leases: dict[GatewayId, LeaseState] = {}
    gateway: GatewayId | None = None
    draining: bool = False
    why: str = ""

    @property
    def lent(self) -> int:
        """Slots, under all its leases."""
        return sum(lease.slots for lease in self.leases.values()) if self.leases else 0

    @property
    def in_flight(self) -> int:
        """Requests in it, as far as their gateways told."""
        leased = sum(lease.in_flight for lease in self.leases.values()) if self.leases else 0
        return len(self.bound) + leased


class Version(msgspec.Struct):
    """An immutable version, the indexes of its instances and the keys of all it holds.

    `at_once` requests may run in one instance at the same time, `slots` be in it, and up to `most_slots` when
    requests queue; nobody is sent to one in which nothing moved for `patience_s` (capacity.py).
    """

    spec: FunctionSpec
    environment: str = ""
    """Copies of `spec.environment_key`, its rank and whether it is on a device, because every request reads
    them."""
    rank: int = 0
    on_device: bool = False
    facts: BundleFacts | None = None
    state: Literal["pending", "building", "built", "failed"] = "pending"
    error: str = ""
    code: str = ""
    attempts: int = 0
    given_up: int = 0
    """Climbs in a row that were given up because they were overdue (overdue.py)."""
    retired: bool = False
    unstageable: bool = False
    at_once: int = 1
    least_slots: int = 1
    slots: int = 1
    most_slots: int = 1
    patience_s: float = 3600.0
    idle: dict[InstanceId, None] = {}
    busy: dict[InstanceId, None] = {}
    climbing: dict[InstanceId, None] = {}
    leased: dict[InstanceId, None] = {}
    live: int = 0
    """How many stand in these four."""
    keys: dict[str, None] = {}
    measured: dict[str, int] = {}
    """By kind of target the bytes that the last one held when it came up; of a gang's parts the most."""
    shared_weights: str = ""
    """The name of its weights where others may have the same; they are then nobody's own."""
    staged_on: dict[NodeId, None] = {}
    cached_on: dict[NodeId, None] = {}
    """Versions on devices only: nodes that have all its weights in their memory."""
    unfit_on: dict[NodeId, None] = {}
    """Versions on devices only: nodes whose memory is too small for one worker."""

    def __post_init__(self) -> None:
        self.environment, self.rank = self.spec.environment_key, self.spec.rank
        self.on_device = self.spec.declaration.device != "cpu"

    @property
    def weights(self) -> str:
        """The name of its weights at each node."""
        return self.shared_weights or self.spec.version


class Function(msgspec.Struct):
    """`goal` is a step an operator asked for; `hold` the one reached, kept until the next request.
    `latest` is what was deployed last: all there is to show when no version of it could be built.
    `line_rank` and `overtaken` belong to its place in the line of a node (lines.py). `on_device` says that
    its queue is the fleet's to serve, `lined` how many of its requests stand in lines of devices. Until
    `warm_until_s` its pre-warm policy wants an instance that there was no room for yet."""

    id: FunctionId
    latest: FunctionSpec | None = None
    active: VersionId | None = None
    next: VersionId | None = None
    previous: list[VersionId] = []
    retiring: dict[VersionId, None] = {}
    replicas: int | None = None
    queue: Queue = msgspec.field(default_factory=Queue)
    goal: Step | None = None
    hold: Step | None = None
    stage_wanted: bool = False
    starved_at: NodeId | None = None
    line_rank: int = 0
    overtaken: int = 0
    on_device: bool = False
    lined: int = 0
    gone: bool = False
    error: str = ""
    code: str = ""
    misses: int = 0
    retry_at_s: float = 0.0
    evicts_at_s: float = 0.0
    takes_over_until_s: float = 0.0
    warm_until_s: float = 0.0
    in_flight: int = 0
    arrived: int = 0
    done: int = 0
    failed: int = 0
    rejected: int = 0
    cancelled: int = 0

    def note(self, message: str) -> None:
        """Something went wrong with what serves it: shown until something goes well. What its last deploy
        failed of, which has a code, is shown until the next deploy: who deployed asks for it."""
        if not self.code:
            self.error = message

    def went_well(self) -> None:
        """It answered, or a climb succeeded."""
        if self.error and not self.code:
            self.error = ""


class Node(msgspec.Struct):
    """`starved` functions have requests that wait for memory here, in order; `patient` ones can wait.
    `granted_bytes` is what it may hold when others on its machine do not need some of that; `context_bytes`
    are held by what waits for the devices' next loads, and no function can have them; `fed_bytes` were free
    when those who wait were tried last. Of the holdings in `keys` those that are `doomed` go as soon as what
    is evicted now stands on them no more."""

    id: NodeId
    cores: int
    granted_bytes: int = 0
    context_bytes: int = 0
    fed_bytes: int = 0
    keys: dict[str, None] = {}
    doomed: dict[str, None] = {}
    starved: dict[FunctionId, None] = {}
    patient: dict[FunctionId, None] = {}


class Store(msgspec.Struct):
    """Everything the controller knows, save its settings and its policies' state."""

    events: int = 0
    commands_made: int = 0
    instances_made: int = 0
    waiting: Queue = msgspec.field(default_factory=Queue)
    """All requests that are in a function's queue."""
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    fleet: Fleet = msgspec.field(default_factory=Fleet)
    functions: dict[FunctionId, Function] = {}
    versions: dict[VersionId, Version] = {}
    sharers: dict[str, dict[VersionId, None]] = {}
    """By the name of weights that may be shared the versions that have them."""
    nodes: dict[NodeId, Node] = {}
    node_order: list[NodeId] = []
    homes: dict[FunctionId, list[NodeId]] = {}
    """The nodes that a function prefers; worked out again when nodes come or go."""
    holdings: dict[str, Holding] = {}
    dependents: dict[str, int] = {}
    instances: dict[InstanceId, Instance] = {}
    guests: dict[InstanceId, dict[InstanceId, None]] = {}
    """By sandbox what is loaded in it for others."""
    preloads: Preloads = msgspec.field(default_factory=Preloads)
    requests: dict[RequestId, Request] = {}
    commands: dict[CommandId, str] = {}
    timers: dict[str, float] = {}
    deadlines: list[tuple[float, RequestId]] = []
    gateways: dict[GatewayId, None] = {}
    environments: dict[str, dict[NodeId, None]] = {}
    environment_misses: dict[str, int] = {}
    build_queue: dict[VersionId, None] = {}
    building: dict[VersionId, None] = {}
    stranded: dict[FunctionId, None] = {}
    lines: dict[NodeId, None] = {}
    """The nodes at which functions stand in line for memory."""


def build_timer(version: VersionId) -> str:
    """Set while the version waits for its next attempt to be built."""
    return f"build:{version}"


def key_of(kind: str, node: str, name: str | int) -> str:
    return f"{kind}/{node}/{name}"
