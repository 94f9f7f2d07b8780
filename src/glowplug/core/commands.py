"""What is to be done, as data. An engine or a gateway does it; its outcome comes back as an event."""

from __future__ import annotations

from typing import Literal

import msgspec

from glowplug.core.ids import CommandId, DeviceId, FunctionId, GatewayId, InstanceId, NodeId, RequestId
from glowplug.core.ladder import Step
from glowplug.core.specs import BundleFacts, FunctionSpec

TargetKind = Literal["environment", "version", "weights", "instance", "part", "build"]


class Target(msgspec.Struct, frozen=True, gc=False):
    """Something that stands on the ladder or holds memory at a node.

    `key` is `namespace/environment` for an environment's zygote, the version id for a version's zygote, its
    build and its weights in the page cache, and the instance's number for an instance. Of a model over
    several workers `12.1` is part 1 of instance 12, and `VERSION.1` that part's weights.
    """

    kind: TargetKind
    node: NodeId
    key: str


class _Command(msgspec.Struct, frozen=True, tag=True, omit_defaults=True, gc=False):
    """Trees of values: nothing in them can be part of a cycle."""


class Build(_Command, frozen=True):
    """Make the bundle of a version on `node`. Outcome: Built, or CommandFailed."""

    id: CommandId
    node: NodeId
    spec: FunctionSpec


class Climb(_Command, frozen=True):
    """Bring `target` up to `step`. Outcome: StepReached, or CommandFailed.

    An instance climbs from `origin`: STAGED (forked from its function's zygote) or IMPORTED (forked from
    the environment's zygote, rebuilding by itself). `prime` runs the model once before it is parked;
    it is False if a request already waits, because that request's pass does the same work. `priority` is
    the class (core.priority) of the request that waits for the climb, 0 if none does. With a `device` the
    weights go there, and the instance takes `device_bytes` there in all. `cached` says that the node's
    memory has the weights, so that they need not be read. If `displaces` names an idle instance, its model
    makes room and is loaded again at its next request. Fails with `device_full` if the device has less
    memory, and with `device_failed` if the copy fails.
    """

    id: CommandId
    target: Target
    step: Step
    spec: FunctionSpec
    facts: BundleFacts | None = None
    origin: Step = Step.IMPORTED
    prime: bool = False
    priority: int = 0
    device: DeviceId | None = None
    cached: bool = False
    device_bytes: int = 0
    displaces: InstanceId | None = None


class AdmitGang(_Command, frozen=True):
    """There is room on `node` for all `workers` of a gang: the instance `head` and its parts 1, 2, ..., whose
    climbs follow. Connect them. No outcome: what goes wrong is told by their climbs. The gang is over when
    the last of them has ended."""

    id: CommandId
    node: NodeId
    head: InstanceId
    workers: int
    spec: FunctionSpec


class Promote(_Command, frozen=True):
    """Raise the priority of a climb under way: somebody of that class waits for it now."""

    id: CommandId
    climb: CommandId
    priority: int


class Descend(_Command, frozen=True):
    """Bring `target` down to `step` and free its memory. Outcome: StepLost."""

    id: CommandId
    target: Target
    step: Step
    why: str


class Dispatch(_Command, frozen=True):
    """Send these requests to an instance, parked, busy or still climbing."""

    id: CommandId
    requests: tuple[RequestId, ...]
    instance: InstanceId
    gateway: GatewayId


class Cancel(_Command, frozen=True):
    """Stop a request that runs. Outcome: RequestDone, or InstanceExited after the grace."""

    id: CommandId
    request: RequestId
    instance: InstanceId
    grace_s: float = 1.0


class Lease(_Command, frozen=True):
    """Lend `slots` of an instance to a gateway until `expires_s`; granting again renews, and may change them.
    Other gateways may have others of its slots.

    So many requests may be in the worker at once; it runs them in their order, `at_once` at a time. If
    `at_once` requests have not moved for `patience_s`, send no more behind them: they take far longer than
    usual.
    """

    id: CommandId
    gateway: GatewayId
    function: FunctionId
    instance: InstanceId
    slots: int
    expires_s: float
    at_once: int = 1
    patience_s: float = 3600.0


class Revoke(_Command, frozen=True):
    """Take a lease back. Outcome: LeaseReport(final=True) once its requests are done; before that, where
    fewer are left than can run at once, one with `called_back` for each that ends."""

    id: CommandId
    gateway: GatewayId
    instance: InstanceId


class Reject(_Command, frozen=True):
    """Answer a request with an error of core.errors."""

    id: CommandId
    request: RequestId
    gateway: GatewayId
    code: str
    message: str
    retry_after_s: float | None = None


class SetTimer(_Command, frozen=True):
    """TimerFired(key) at `at_s`; setting a key again replaces it."""

    key: str
    at_s: float


class ClearTimer(_Command, frozen=True):
    key: str


Command = (
    Build | AdmitGang | Climb | Promote | Descend | Dispatch | Cancel | Lease | Revoke | Reject | SetTimer
    | ClearTimer
)  # fmt: skip
