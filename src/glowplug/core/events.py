"""What happened, as data. The controller learns of nothing in any other way.

Every event is frozen, carries ids and sizes and never a body, and is what the journal stores.
"""

from __future__ import annotations

import msgspec

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
from glowplug.core.specs import BundleFacts, DeviceSpec, FunctionSpec, NodeSpec


class _Event(msgspec.Struct, frozen=True, tag=True, omit_defaults=True, gc=False):
    pass


class Deployed(_Event, frozen=True):
    """A version was accepted and is durable. `facts` is set when its bundle is built already."""

    spec: FunctionSpec
    facts: BundleFacts | None = None
    active: bool = True


class Built(_Event, frozen=True):
    command: CommandId
    version: VersionId
    node: NodeId
    facts: BundleFacts
    took_s: float


class RollbackRequested(_Event, frozen=True):
    function: FunctionId
    version: VersionId


class Undeployed(_Event, frozen=True):
    function: FunctionId


class ScaleRequested(_Event, frozen=True):
    function: FunctionId
    replicas: int


class ClimbRequested(_Event, frozen=True):
    """An operator wants the function to stand at exactly `step` (LOCAL to PARKED), until its next request."""

    function: FunctionId
    step: Step


class DescendRequested(_Event, frozen=True):
    """As ClimbRequested, from above: what is higher goes when it is idle."""

    function: FunctionId
    step: Step


class RequestArrived(_Event, frozen=True):
    """`priority` is a rank of core.priority; 0 is the function's own."""

    request: RequestId
    function: FunctionId
    gateway: GatewayId
    deadline_s: float
    body_bytes: int = 0
    priority: int = 0


class RequestStarted(_Event, frozen=True):
    request: RequestId
    instance: InstanceId


class RequestDone(_Event, frozen=True):
    """`ok` is False when the function's own code raised; `took_s` is its time inside the worker."""

    request: RequestId
    instance: InstanceId
    ok: bool
    took_s: float


class RequestCancelled(_Event, frozen=True):
    """The client left. `instance` is where the request runs: under a lease only the gateway knows."""

    request: RequestId
    instance: InstanceId | None = None


class ClimbProgress(_Event, frozen=True):
    command: CommandId
    phase: str
    at_s: float


class StepReached(_Event, frozen=True):
    """A climb arrived. `held_bytes` is what the target holds now; `phases` are seconds by phase, `cpu_s`
    those of a processor, where they are known."""

    command: CommandId
    target: Target
    step: Step
    took_s: float
    held_bytes: int
    phases: dict[str, float] = {}
    cpu_s: float | None = None


class StepLost(_Event, frozen=True):
    """A target fell to `step`, by a Descend that finished or by itself. Its memory is free."""

    target: Target
    step: Step
    why: str = ""
    command: CommandId | None = None


class InstanceExited(_Event, frozen=True):
    instance: InstanceId
    why: str
    exit_code: int | None = None
    code: str = "worker_died"
    """Of core.errors: what its requests are told."""


class CommandFailed(_Event, frozen=True):
    """`code` is an error's code of core.errors; `permanent` says that trying again will not help."""

    command: CommandId
    target: Target
    code: str
    message: str
    permanent: bool = False


class LeaseReport(_Event, frozen=True):
    """What a gateway did under a lease since its last report. `final` gives the lease back; `called_back`
    says that it was told to, and sends no more: what is not `in_flight` is free. `stuck` says that what runs
    has not moved for longer than the lease's patience."""

    gateway: GatewayId
    instance: InstanceId
    done: int = 0
    failed: int = 0
    busy_s: float = 0.0
    in_flight: int = 0
    last_s: float = 0.0
    final: bool = False
    stuck: bool = False
    called_back: bool = False


class NodeJoined(_Event, frozen=True):
    spec: NodeSpec


class NodeLost(_Event, frozen=True):
    node: NodeId
    why: str = ""


class DeviceJoined(_Event, frozen=True):
    """A node has this device from now on, empty; one that was known has lost what it held."""

    node: NodeId
    spec: DeviceSpec


class DeviceLost(_Event, frozen=True):
    """Whatever was on it is gone, whatever ran there with it."""

    device: DeviceId
    why: str = ""


class ContextWaits(_Event, frozen=True):
    """A process that has the device's context waits for its function, and holds `held_bytes` of the node's
    memory; when it is taken another takes its place."""

    device: DeviceId
    held_bytes: int


class PressureChanged(_Event, frozen=True):
    node: NodeId
    budget_bytes: int


class HeldChanged(_Event, frozen=True):
    """A target's memory was measured again."""

    target: Target
    held_bytes: int


class TimerFired(_Event, frozen=True):
    key: str


Event = (
    Deployed | Built | RollbackRequested | Undeployed | ScaleRequested | RequestArrived | RequestStarted
    | RequestDone | RequestCancelled | ClimbProgress | StepReached | StepLost | InstanceExited
    | CommandFailed | LeaseReport | NodeJoined | NodeLost | PressureChanged | HeldChanged | TimerFired
    | ClimbRequested | DescendRequested | DeviceJoined | DeviceLost | ContextWaits
)  # fmt: skip
