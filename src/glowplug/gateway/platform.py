"""What the admin interface needs from whoever composes the server, and its requests and answers.

Field names in camelCase are OpenFaaS's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Literal, Protocol

import msgspec

from glowplug.core.devices import Fault
from glowplug.core.explanation import Explanation
from glowplug.core.ids import DEFAULT_NAMESPACE, DeviceId, FunctionId, RequestId
from glowplug.core.ladder import Step
from glowplug.core.status import (
    DeviceStatus,
    FunctionLoad,
    FunctionStatus,
    LogLine,
    LogQuery,
    NodeStatus,
    PackagesList,
    PreloadStatus,
)

Direction = Literal["climb", "descend"]
Cache = Literal["warm", "cold"]


class Limits(msgspec.Struct, frozen=True):
    """`memory` as people write it: `512MB`, `512Mi`."""

    memory: str | None = None
    cpu: str | None = None


class DeployRequest(msgspec.Struct, frozen=True):
    """`image` is the id of an upload that declares `service`. Unknown fields are ignored."""

    service: str
    image: str
    namespace: str = DEFAULT_NAMESPACE
    envVars: dict[str, str] = {}  # noqa: N815
    secrets: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    limits: Limits | None = None


class Deployment(msgspec.Struct, frozen=True):
    """The answer to a deploy: accepted and durable, not yet built."""

    name: str
    namespace: str
    version: str


class UndeployRequest(msgspec.Struct, frozen=True):
    functionName: str  # noqa: N815
    namespace: str = DEFAULT_NAMESPACE


class ScaleRequest(msgspec.Struct, frozen=True):
    replicas: int
    serviceName: str = ""  # noqa: N815


class RollbackRequest(msgspec.Struct, frozen=True):
    version: str | None = None


class SecretName(msgspec.Struct, frozen=True):
    name: str
    namespace: str = DEFAULT_NAMESPACE


class Secret(SecretName, frozen=True):
    """Write only: nothing gives a value back but to the functions that ask for it."""

    value: str = ""


class DeviceFault(msgspec.Struct, frozen=True):
    """What is to happen to a device (core.devices.Fault), which is named as `GET /system/devices` names
    it."""

    device: DeviceId
    fault: Fault


class PlatformInfo(msgspec.Struct, frozen=True):
    version: str
    nodes: tuple[NodeStatus, ...] = ()
    isolation: dict[str, str] = {}
    preload: PreloadStatus | None = None


class PruneRequest(msgspec.Struct, frozen=True):
    """With `cache` also what installers downloaded is removed."""

    cache: bool = True


class Platform(Protocol):
    """Everything raises errors of core.errors; functions that are not there raise UnknownFunction."""

    async def deploy(self, request: DeployRequest, update: bool) -> Deployment:
        """Returns when the deploy is durable. With `update` the function must be there."""
        ...

    def functions(self) -> list[FunctionStatus]: ...

    def function(self, function: FunctionId) -> FunctionStatus: ...

    def loads(self) -> Iterator[FunctionLoad]:
        """Of every function, in the order of `functions`."""
        ...

    async def scale(self, function: FunctionId, replicas: int) -> None: ...

    async def undeploy(self, function: FunctionId) -> None: ...

    async def rollback(self, function: FunctionId, version: str | None) -> None:
        """To the version before the active one unless `version` names another. Raises UnknownVersion."""
        ...

    async def move(self, function: FunctionId, direction: Direction, step: Step, cache: Cache | None) -> None:
        """Returns when it stands at exactly `step`, its weights in (`warm`) or out of the page cache."""
        ...

    def devices(self) -> list[DeviceStatus]:
        """All devices, with what lies there and waits for them."""
        ...

    async def disturb(self, wanted: DeviceFault) -> None:
        """For tests and drills: breaks a device or makes it whole. Returns when that has happened. Raises
        UnknownDevice, InvalidArguments."""
        ...

    async def explain(self, request: RequestId) -> Explanation:
        """Why a request went where it went, from the journal. Raises UnknownRequest, Unavailable."""
        ...

    async def packages(self) -> PackagesList:
        """What is installed for environments, and who needs it."""
        ...

    async def prune_packages(self, request: PruneRequest) -> PackagesList:
        """Removes what no deployed version needs and no process uses. Returns what is left, and what went."""
        ...

    def secrets(self, namespace: str) -> list[str]:
        """The names of a namespace's secrets, sorted."""
        ...

    async def set_secret(self, secret: Secret) -> None:
        """Stores a secret or replaces it. Processes that run already keep what they were given."""
        ...

    async def remove_secret(self, secret: SecretName) -> None:
        """Raises UnknownSecret."""
        ...

    async def receive_upload(self, chunks: AsyncIterator[bytes]) -> str:
        """Stores the bytes and returns their sha256 in hex. Leaves nothing behind when `chunks` raises."""
        ...

    def logs(
        self, function: FunctionId, follow: bool, tail: int | None, query: LogQuery
    ) -> AsyncIterator[LogLine]:
        """Lines in order. Closing the iterator ends a follower."""
        ...

    def info(self) -> PlatformInfo: ...

    def ready(self) -> bool:
        """Whether functions that are deployed can be answered."""
        ...
