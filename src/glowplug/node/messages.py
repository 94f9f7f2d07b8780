"""Every message between the server, the agent, the zygotes and the workers."""

from __future__ import annotations

from typing import Literal

import msgspec

from glowplug.bundle.builder import BuildResult
from glowplug.core.commands import AdmitGang, Build, Cancel, Climb, Descend, Promote
from glowplug.core.devices import DeviceSetting, Fault
from glowplug.core.events import Event
from glowplug.core.ids import DeviceId
from glowplug.core.specs import Declaration, DeviceSpec
from glowplug.node.isolation.child import Confinement

Role = Literal["stage", "worker", "part", "build", "probe", "context"]


class _Message(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    pass


# server -> agent


class Do(_Message, frozen=True):
    """One command. With an instance's Climb the worker's end of its data socket travels along.

    `env` is the function's environment with its secrets: it passes through memory only.
    """

    command: Build | AdmitGang | Climb | Descend | Cancel | Promote
    env: dict[str, str] = {}


class CacheWeights(_Message, frozen=True):
    """Read a version's pack into the page cache, or evict it. Answered by CacheDone with the same token."""

    token: int
    version: str
    cached: bool


class RemovePackages(_Message, frozen=True):
    """Remove what was installed under these names, unless it is in use; with `cache` also what was downloaded
    and is kept. Answered by PackagesRemoved with the same token."""

    token: int
    names: tuple[str, ...]
    cache: bool = False


class Disturb(_Message, frozen=True):
    """Break a device, or make it whole again. Answered by Disturbed with the same token."""

    token: int
    device: DeviceId
    fault: Fault


class StopAgent(_Message, frozen=True):
    """End everything, and yourself. The end of the socket says the same."""


# agent -> server


class AgentReady(_Message, frozen=True):
    """The first message. `isolation` says by feature what holds here, in words (isolation/means.py)."""

    isolation: dict[str, str]
    devices: tuple[DeviceSpec, ...] = ()


class Happened(_Message, frozen=True):
    event: Event


class Said(_Message, frozen=True):
    """Lines that a function's process printed."""

    function: str
    instance: int
    stream: str
    lines: list[str]


class CacheDone(_Message, frozen=True):
    """`resident_bytes` of the pack are in the page cache now, 0 also when it could not be done."""

    token: int
    resident_bytes: int


class PackagesRemoved(_Message, frozen=True):
    """`names` are those that are gone."""

    token: int
    names: tuple[str, ...]


class Disturbed(_Message, frozen=True):
    """`problem` is why it cannot be done, empty when it is."""

    token: int
    problem: str = ""


# agent -> zygote


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a process stands in its gang; 0 is the head. `folder` is the shared memory of the run `run`."""

    folder: str
    run: str
    workers: int
    worker: int = 0


class Fork(_Message, frozen=True):
    """Fork a child of `role`. Descriptors: its control socket (none to a context process, which has one),
    stdout, stderr, its variables if it has any, and a worker's data socket (worker.Worker)."""

    role: Role
    function: str
    version: str
    home: str = ""
    confinement: Confinement | None = None
    """None in a fork of a function's zygote, which has been confined already."""
    bundle: str = ""
    pack: str = ""
    parts: tuple[str, ...] = ()
    """To a probe: the packs of the other workers of a model that is spread over several."""
    gang: Place | None = None
    instance: int = 0
    prime: bool = False
    rehearse: bool = False
    has_variables: bool = False
    """They are in a file of their own (variables.py)."""
    declaration: Declaration | None = None
    code: str = ""
    output: str = ""
    sent_s: float = 0.0
    environment_s: float = 0.0
    """Seconds for which the environment's zygote waited for its packages to be installed."""
    fetched_s: float = 0.0
    """Seconds for which this fork waited for its pack to come."""
    nice: int = 0
    threads: int = 0
    """What it takes of the cores, see share.py."""
    arriving: bool = False
    """The pack is still being fetched: two more descriptors are the file, and who tells of its units. A
    worker that was a context process is given the file alone."""
    device: DeviceSetting | None = None
    """Where a worker computes. Of a virtual one the last descriptor is a file that says how fast it is."""
    kernels: tuple[bytes, ...] = ()
    """To a context process: records of what it is to load beside its context (loader/devices/kernels.py)."""


class Rehearse(_Message, frozen=True):
    """To a context process that waits: another such record."""

    kernels: tuple[bytes, ...]


class MapPages(_Message, frozen=True):
    """Map the weights' pages, which the page cache has: what one process alone maps counts as its own. Or
    unmap the clean ones, so that the page cache can drop them. Answered by PagesMapped."""

    mapped: bool


# zygote -> agent


class ZygoteReady(_Message, frozen=True):
    """An environment's zygote has imported its libraries; or a function's zygote is staged.

    `threads` above 1 means that this process must not fork, and so does what a function's zygote says of
    `ties` that its forks would share, in words (ties.py). By library, `missing` are the errors of those
    that cannot be imported, and `left_out` says what made an import of the others harm all who share the
    zygote, as in "leaves 2 threads running": each process of a function imports those by itself.
    """

    phases: dict[str, float]
    held_bytes: int
    threads: int
    missing: dict[str, str] = {}
    left_out: dict[str, str] = {}
    ties: str = ""


class Forked(_Message, frozen=True):
    """The child exists; its pidfd travels along. Answers come in the order of the Fork messages."""

    pid: int


class PagesMapped(_Message, frozen=True):
    pass


class ForkFailed(_Message, frozen=True):
    """In the place of Forked: there is no child, and its descriptors are closed."""

    reason: str


class ChildExited(_Message, frozen=True):
    """A child was reaped; a negative `exit_code` is the signal that ended it. Who says so of one that lives
    has it killed."""

    pid: int
    exit_code: int


# child -> agent


class WorkerReady(_Message, frozen=True):
    """It has climbed, and answers. `phases` are seconds by the names of core.ladder.PHASES. `held_bytes` are
    its private ones, 0 when it was not primed: the agent measures it a second later."""

    phases: dict[str, float]
    held_bytes: int
    peak_bytes: int


class ContextReady(_Message, frozen=True):
    """This process may use its device, and waits for a function: a Fork of role `worker`. `held_bytes` of the
    node's memory are its own."""

    held_bytes: int


class LetGo(_Message, frozen=True):
    """The worker has no cancelled request `request` in it: it stopped, was over, or will be refused."""

    request: int


class Failed(_Message, frozen=True):
    """The child cannot go on; `code` is of core.errors. It exits after this."""

    code: str
    message: str


class BuildDone(_Message, frozen=True):
    """The pack lies beside the build's other files, if there is one. It exits after this."""

    result: BuildResult


class ProbeDone(_Message, frozen=True):
    """Private bytes of a zygote of the version, of a parked worker, and of one while it runs the model; above
    one of `threads`, or with `ties` (as in ZygoteReady), there will be no zygote. It exits after this."""

    threads: int
    rehearsed: bool
    staged_bytes: int
    parked_bytes: int
    peak_bytes: int
    ties: str = ""


# agent -> worker


class CancelRequest(_Message, frozen=True):
    """Followed by SIGUSR1, whose handler reads this and stops the request if it still runs."""

    request: int


FromServer = Do | CacheWeights | RemovePackages | Disturb | StopAgent
FromAgent = AgentReady | Happened | Said | CacheDone | PackagesRemoved | Disturbed
ToZygote = Fork | MapPages
FromChild = (
    WorkerReady
    | ContextReady
    | LetGo
    | Failed
    | BuildDone
    | ProbeDone
    | ZygoteReady
    | Forked
    | PagesMapped
    | ForkFailed
    | ChildExited
)
