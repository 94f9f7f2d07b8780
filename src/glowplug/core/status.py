"""What people see of a function, a request and a node: the answers of the admin interface."""

from __future__ import annotations

import msgspec

from glowplug.core.specs import EndpointSpec


class InstanceStatus(msgspec.Struct, frozen=True):
    instance: int
    version: str
    step: str
    held_bytes: int = 0
    in_flight: int = 0
    preloaded: bool = False
    """Loaded before anybody asked, and not used since."""


class HeldStatus(msgspec.Struct, frozen=True):
    """What a function holds at one step at one node: weights in the page cache (`local`), its zygote
    (`staged`), workers (`parked`, `busy`), and what is on its way (`climbing`, `descending`). `count` of
    them, of which `preloaded` were loaded before anybody asked, and not used since. When `functions` have
    the same weights, `held_bytes` has only this one's part of them."""

    node: str
    step: str
    count: int
    held_bytes: int
    preloaded: int = 0
    functions: int = 1


class FunctionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One function. The camelCase names are OpenFaaS's; the others are ours.

    `environment` is its id and `packages` that of what it has installed of its own, empty when that is
    nothing. `state` is `building`, `ready`, `failed` or `draining`; `phase` says what is under way meanwhile:
    `waiting`, `environment` (packages are being installed), `import` or `build`. `step` is where its best
    place or instance stands; `highest_step` and `reason` say how far it can climb and why no further.
    `device_bytes` is what its workers hold of devices. `versions` are those that can be active, the active
    one first; `next` is one that is on its way to that; `held` is what these hold, step by step.
    """

    name: str
    namespace: str
    replicas: int = 0
    availableReplicas: int = 0  # noqa: N815
    invocationCount: float = 0  # noqa: N815
    image: str = ""
    envProcess: str = ""  # noqa: N815
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    createdAt: str = ""  # noqa: N815
    version: str = ""
    versions: tuple[str, ...] = ()
    next: str = ""
    kind: str = "model"
    state: str = "ready"
    environment: str = ""
    packages: str = ""
    phase: str = ""
    step: str = "local"
    highest_step: str = "parked"
    reason: str = ""
    error: str = ""
    queued: int = 0
    in_flight: int = 0
    held_bytes: int = 0
    weight_bytes: int = 0
    keep_warm_s: float = 0.0
    priority: str = "interactive"
    min_workers: int = 0
    max_workers: int = 1
    workers: int = 1
    target_concurrency: int = 1
    device: str = "cpu"
    device_bytes: int = 0
    endpoints: tuple[EndpointSpec, ...] = ()
    instances: tuple[InstanceStatus, ...] = ()
    held: tuple[HeldStatus, ...] = ()
    failures: int = 0


class PackagesStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is installed for environments that require it. `state` is `built`, or `missing`: it is installed
    when it is needed next. `functions` are those that need it; `used_at_s` is when it was last needed."""

    packages: str
    state: str
    functions: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    installed: tuple[str, ...] = ()
    installer: str = ""
    size_bytes: int = 0
    took_s: float = 0.0
    used_at_s: float = 0.0


class PackagesList(msgspec.Struct, frozen=True):
    """`cache_bytes` is what installers downloaded and is kept; `removed` are those that a prune removed."""

    packages: tuple[PackagesStatus, ...] = ()
    cache_bytes: int = 0
    removed: tuple[str, ...] = ()
    freed_bytes: int = 0


class NodeStatus(msgspec.Struct, frozen=True):
    """`budget_bytes` may be reserved now, of the `granted_bytes` that may be while others on the machine do
    not need some of them; `cached_bytes` of what is reserved are weights in the page cache."""

    node: str
    budget_bytes: int
    reserved_bytes: int
    cores: int
    environment_bytes: int = 0
    cached_bytes: int = 0
    granted_bytes: int = 0
    isolation: dict[str, str] = {}


class PreloadStatus(msgspec.Struct, frozen=True):
    """What was loaded before it was asked for, since the start. `unused` are there and wait for their first
    use, `climbing` are on their way; of those that were `used`, in which a request ran, `used_late` still
    climbed when it came; `wasted` ended without one. All these are workers; what follows is of zygotes, too:
    `wasted_byte_seconds` is what was held in vain x how long, `failed` climbs made their function pause, and
    `held_back` were not begun, the share of a core or of memory being spent."""

    policy: str
    cpu_share: float
    memory_share: float
    unused: int
    climbing: int
    started: int
    used: int
    used_late: int
    wasted: int
    failed: int
    held_back: int
    wasted_byte_seconds: float
    seconds: float
    """Of a processor, by climbs that have ended; simulated, of climbing."""
    unused_byte_seconds: float = 0.0
    """By which `wasted_byte_seconds` would grow if all that is unused ended now."""


class ResidentStatus(msgspec.Struct, frozen=True):
    """A model on a device. `step` is `climbing`, `parked`, `busy` or `descending`."""

    function: str
    instance: int
    step: str
    held_bytes: int


class DeviceStatus(msgspec.Struct, frozen=True):
    """One device: what it has, what lies there, and what waits for it.

    `loading` functions are wanted there and wait for room; `running` are requests that compute, `queued`
    those in its line. `pace` is how much longer things take there than elsewhere. `state` is `up`, or
    `paused` after a load that failed.
    """

    device: str
    node: str
    capacity_bytes: int
    used_bytes: int
    state: str = "up"
    residents: tuple[ResidentStatus, ...] = ()
    loading: tuple[str, ...] = ()
    running: int = 0
    queued: int = 0
    pace: float = 1.0


class RequestTrace(msgspec.Struct, frozen=True):
    """One answered request: its phases in seconds, by the names of core.ladder.PHASES, in that order.

    `origin` is the step it started from: `local`, `imported`, `staged`, `parked` or `climbing`.
    """

    request: int
    function: str
    endpoint: str
    started_s: float
    total_s: float
    status: int
    origin: str
    phases: dict[str, float]
    instance: int = 0


LOG_STREAMS = ("stdout", "stderr", "build")
"""Where a line was printed; `build` is by what installs a function's packages."""


class LogLine(msgspec.Struct, frozen=True):
    at_s: float
    function: str
    instance: int
    stream: str
    text: str


class LogQuery(msgspec.Struct, frozen=True):
    """Which lines are wanted: of one instance, of one stream, at or after `since_s` (epoch), and with `grep`
    in them. That is a plain text, not a pattern: no query can make the server think for long."""

    instance: int | None = None
    stream: str | None = None
    since_s: float | None = None
    grep: str = ""

    def matches(self, line: LogLine) -> bool:
        return (
            (self.instance is None or line.instance == self.instance)
            and (self.stream is None or line.stream == self.stream)
            and (self.since_s is None or line.at_s >= self.since_s)
            and self.grep in line.text
        )


class FunctionLoad(msgspec.Struct, frozen=True):
    """What a function holds and has to do at this moment, as the controller counts it.

    `climbing`, `parked` and `busy` are its workers; `leases` are those lent to gateways. Bytes are reserved
    ones: `staged_bytes` of its zygotes, `worker_bytes` of its workers, `weight_bytes` in the page cache, its
    part of those that others have too.
    """

    function: str
    state: str = "ready"
    step: str = "local"
    queued: int = 0
    in_flight: int = 0
    leases: int = 0
    climbing: int = 0
    parked: int = 0
    busy: int = 0
    staged_bytes: int = 0
    worker_bytes: int = 0
    weight_bytes: int = 0


class ColdStart(msgspec.Struct, frozen=True):
    """A request that waited for a climb: from which step, how long, and when it was answered (epoch)."""

    origin: str
    total_s: float
    at_s: float


class Traffic(msgspec.Struct, frozen=True):
    """What a gateway answered for a function since it began to count: two of these make a rate.

    `requests` are by status; `seconds` by bucket of core.histogram, whose bounds are BOUNDS_S.
    """

    requests: dict[str, int] = {}
    seconds: dict[int, int] = {}
    compute_s: float = 0.0
    last_cold: ColdStart | None = None


class Load(msgspec.Struct, frozen=True):
    """Everything `glowplug top` shows. `at_s` are epoch seconds that never run backwards."""

    at_s: float
    functions: tuple[FunctionLoad, ...]
    traffic: dict[str, Traffic]
    nodes: tuple[NodeStatus, ...] = ()
    devices: tuple[DeviceStatus, ...] = ()
    gateways: int = 1
    """Processes that answer requests for functions."""
