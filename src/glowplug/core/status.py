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


class FunctionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One function. The camelCase names are OpenFaaS's; the others are ours.

    `state` is `building`, `ready`, `failed` or `draining`; `step` is where its best place or instance
    stands; `highest_step` and `reason` say how far it can climb and why no further. `versions` are those that
    can be active, the active one first; `next` is one that is on its way to that.
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
    step: str = "local"
    highest_step: str = "parked"
    reason: str = ""
    error: str = ""
    queued: int = 0
    in_flight: int = 0
    held_bytes: int = 0
    weight_bytes: int = 0
    keep_warm_s: float = 0.0
    endpoints: tuple[EndpointSpec, ...] = ()
    instances: tuple[InstanceStatus, ...] = ()
    failures: int = 0


class NodeStatus(msgspec.Struct, frozen=True):
    node: str
    budget_bytes: int
    reserved_bytes: int
    cores: int
    isolation: dict[str, str] = {}


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


class LogLine(msgspec.Struct, frozen=True):
    at_s: float
    function: str
    instance: int
    stream: str
    text: str
