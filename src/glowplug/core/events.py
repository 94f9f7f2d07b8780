"""What happened, as data. The controller learns of nothing in any other way.

Every event is frozen, carries ids and sizes and never a body, and is what the journal stores.
"""

from __future__ import annotations

import msgspec

from glowplug.core.commands import Target
from glowplug.core.ids import CommandId, FunctionId, GatewayId, InstanceId, NodeId, RequestId, VersionId
from glowplug.core.ladder import Step
from glowplug.core.specs import BundleFacts, FunctionSpec, NodeSpec


class _Event(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    pass


class Deployed(_Event):
    """A version was accepted and is durable. `facts` is set when its bundle is built already."""

    spec: FunctionSpec
    facts: BundleFacts | None = None
    active: bool = True


class Built(_Event):
    command: CommandId
    version: VersionId
    node: NodeId
    facts: BundleFacts
    took_s: float


class RollbackRequested(_Event):
    function: FunctionId
    version: VersionId


class Undeployed(_Event):
    function: FunctionId


class ScaleRequested(_Event):
    function: FunctionId
    replicas: int


class RequestArrived(_Event):
    request: RequestId
    function: FunctionId
    gateway: GatewayId
    deadline_s: float
    body_bytes: int = 0
    priority: int = 0


class RequestStarted(_Event):
    request: RequestId
    instance: InstanceId


class RequestDone(_Event):
    """`ok` is False when the function's own code raised; `took_s` is its time inside the worker."""

    request: RequestId
    instance: InstanceId
    ok: bool
    took_s: float


class RequestCancelled(_Event):
    """The client left."""

    request: RequestId


class ClimbProgress(_Event):
    command: CommandId
    phase: str
    at_s: float


class StepReached(_Event):
    """A climb arrived. `held_bytes` is what the target holds now; `phases` are seconds by phase."""

    command: CommandId
    target: Target
    step: Step
    took_s: float
    held_bytes: int
    phases: dict[str, float] = {}


class StepLost(_Event):
    """A target fell to `step`, by a Descend that finished or by itself. Its memory is free."""

    target: Target
    step: Step
    why: str = ""
    command: CommandId | None = None
    released_bytes: int | None = None


class InstanceExited(_Event):
    instance: InstanceId
    why: str
    exit_code: int | None = None


class CommandFailed(_Event):
    """`code` is an error's code of core.errors; `permanent` says that trying again will not help."""

    command: CommandId
    target: Target
    code: str
    message: str
    permanent: bool = False


class LeaseReport(_Event):
    """What a gateway did under a lease since its last report. `final` gives the lease back."""

    gateway: GatewayId
    instance: InstanceId
    done: int = 0
    failed: int = 0
    busy_s: float = 0.0
    in_flight: int = 0
    last_s: float = 0.0
    final: bool = False


class NodeJoined(_Event):
    spec: NodeSpec


class NodeLost(_Event):
    node: NodeId
    why: str = ""


class PressureChanged(_Event):
    node: NodeId
    budget_bytes: int


class HeldChanged(_Event):
    """A target's memory was measured again."""

    target: Target
    held_bytes: int


class TimerFired(_Event):
    key: str


Event = (
    Deployed | Built | RollbackRequested | Undeployed | ScaleRequested | RequestArrived | RequestStarted
    | RequestDone | RequestCancelled | ClimbProgress | StepReached | StepLost | InstanceExited
    | CommandFailed | LeaseReport | NodeJoined | NodeLost | PressureChanged | HeldChanged | TimerFired
)  # fmt: skip
