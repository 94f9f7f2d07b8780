"""What a user declared, what a build found out, and what a node offers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from glowplug.core.errors import InvalidDeclaration
from glowplug.core.ids import DeviceId, EnvironmentId, FunctionId, PackagesId, VersionId
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority, PriorityLabel, rank_of
from glowplug.core.units import MOST_BYTES, show_bytes

Kind = Literal["model", "function"]
DeviceKind = Literal["cpu", "gpu"]
"""Where a model computes: on the node's own cores, or on one of its devices, of whatever kind."""
Preload = Literal["auto", "never", "always"]
"""When a function is loaded before it is called: if a call is likely, never, or whenever there is room."""
MOST_COPIES = 10_000
"""`max_workers` of a function on devices that names none: as many copies as pay off."""
MOST_AT_ONCE = 128
"""Requests that one worker may be told to run at once."""
MOST_IN_GANG = 32
"""The same where a model is spread over several workers."""
MOST_WORKERS = 64
"""Processes over which one model may be spread."""
AS_NEEDED = 0
"""`workers` of a model that has as few as can hold it, one if that is enough."""
LEAST_MEMORY_BYTES = 16 * 10**6
"""`memory` of a function that does nothing: its worker holds about half, and its files may lie there too."""
LONGEST_BATCH_WAIT_S = 10.0
MOST_THREADS = 1024
MOST_COUNTED = 2**63 - 1
"""Of `max_queue` and `max_workers`: no more than every format has room for."""
Bytes = Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_COUNTED)]


class Parameter(msgspec.Struct, frozen=True):
    """One argument of an endpoint; `type` is the annotation as text, for people and schemas."""

    name: str
    type: str
    required: bool = True


class Schemas(msgspec.Struct, frozen=True, omit_defaults=True):
    """JSON Schema of an endpoint. `arrays` names the arguments that may come as raw tensors;
    `result` is of each part where `streams`; `defs` are what `#/$defs/...` refers to."""

    arguments: dict[str, Any] = {}
    required: tuple[str, ...] = ()
    result: dict[str, Any] = {}
    arrays: tuple[str, ...] = ()
    returns_array: bool = False
    streams: bool = False
    defs: dict[str, Any] = {}


class EndpointSpec(msgspec.Struct, frozen=True):
    """`parameters` and `returns` are one request's, also where the endpoint takes and returns lists of them:
    with `max_batch` above 1 it gets up to so many requests at once, which wait `max_wait_s` for each other at
    the most. With `streams` it yields what `returns` describes."""

    name: str
    parameters: tuple[Parameter, ...] = ()
    returns: str = "Any"
    doc: str = ""
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=MOST_AT_ONCE)] = 1
    max_wait_s: Annotated[float, msgspec.Meta(ge=0.0, le=LONGEST_BATCH_WAIT_S)] = 0.0
    streams: bool = False
    is_async: bool = False
    idempotent: bool = False
    """Whether answering one call twice does no harm: a spawned call is then sent again after a failure."""
    schema: str = ""
    """JSON text: Schemas, or nothing when it is not known. Text, for the controller keeps
    thousands of these and reads none."""


class Requirements(msgspec.Struct, frozen=True):
    """What must be installed for a function, in the words of pip's requirements files, one line each.

    As declared, `lines` may name files (`-r requirements.txt`); once the source was inspected they do not,
    and a path among them is that of a wheel that travels with the source. With `build_from_source` packages
    without a wheel are built, by their own code; else that is refused.
    """

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    build_from_source: bool = False


class Declaration(msgspec.Struct, frozen=True):
    """One `@app.model` or `@app.function` as found in a source file.

    `module` and `qualname` find it again in a function's own process; `weights` is the path as written,
    relative to the source file, or None (no weights, or a callable, resolved where the function builds).
    `target_concurrency` is how many requests one worker runs at once; `threads` how many threads compute in
    one worker (0: the node's cores divided over `max_workers`); `priority` a class of core.priority.
    With `device="gpu"` a worker's model lies on a device, of which `device_memory_bytes` are its own (0: its
    weights and the declared memory); `latency_target_s` is how long an answer may take for the sake of a
    larger batch (0: no longer than it must). Over more than one of `workers` its model is spread: each copy
    of the function is a gang of so many processes.
    """

    name: str
    kind: Kind
    module: str
    qualname: str
    namespace: str = "default"
    endpoints: tuple[EndpointSpec, ...] = ()
    weights: str | None = None
    libraries: tuple[str, ...] = ()
    memory_bytes: Bytes = 512 * 10**6
    keep_warm_s: float = 300.0
    timeout_s: float = 60.0
    max_queue: Count = 100
    min_workers: Count = 0
    max_workers: Count = 1
    workers: Annotated[int, msgspec.Meta(ge=AS_NEEDED, le=MOST_WORKERS)] = 1
    target_concurrency: Annotated[int, msgspec.Meta(ge=1, le=MOST_AT_ONCE)] = 1
    threads: Annotated[int, msgspec.Meta(ge=0, le=MOST_THREADS)] = 0
    priority: PriorityLabel = "interactive"
    device: DeviceKind = "cpu"
    device_memory_bytes: Bytes = 0
    latency_target_s: float = 0.0
    network: bool = False
    prewarm: str = "auto"
    """The policy that keeps its workers warm; `auto` is what the server uses."""
    preload: Preload = "auto"
    pin: bool = False
    """What has climbed stays: it goes only for a request that finds no other room."""
    env: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    requirements: Requirements | None = None
    doc: str = ""

    def check_memory(self) -> None:
        """Raises InvalidDeclaration for less than a worker can start in. What is spread over workers says how
        much of its model each may hold, which is checked when it is cut."""
        if self.workers == 1 and self.memory_bytes < LEAST_MEMORY_BYTES:
            raise InvalidDeclaration(
                f"{self.kind} {self.name}: memory: no worker could start in {show_bytes(self.memory_bytes)}; "
                f"declare at least {show_bytes(LEAST_MEMORY_BYTES)}"
            )


class FunctionSpec(msgspec.Struct, frozen=True):
    """One immutable version of a function: all that the controller needs to decide about it.

    `packages` names what its environment has installed of its own, empty when that is nothing; the
    declaration's `requirements` are then kept under that name and no longer in the declaration.
    """

    function: FunctionId
    version: VersionId
    namespace: str
    environment: EnvironmentId
    upload: str
    declaration: Declaration
    created_s: float = 0.0
    packages: PackagesId = PackagesId("")

    @property
    def environment_key(self) -> str:
        """Environment zygotes are shared inside a namespace, never across; nor between functions that may use
        the network and those that may not."""
        return f"{self.namespace}/{self.environment}" + ("+network" if self.declaration.network else "")

    @property
    def rank(self) -> Priority:
        """The class of its requests that do not name their own."""
        return rank_of(self.declaration.priority)


class PartFacts(msgspec.Struct, frozen=True):
    """What another worker than the first has of a model: its pack, and the blocks in it by their paths."""

    pack: str = ""
    weight_bytes: int = 0
    blocks: tuple[str, ...] = ()


class BundleFacts(msgspec.Struct, frozen=True):
    """What building a version measured; the first estimates of its costs on the ladder.

    `highest_step` is PARKED when the function's own zygote can fork workers, else IMPORTED with the
    `reason` in words. Private bytes are a process's own (smaps), without what it shares with its zygote.
    Of a model over several workers `weight_bytes` and `pack` are the first one's, and `parts` those of the
    others; each may need `peak_bytes`, which is what the whole model needs for a pass.
    `run_s`, `load_s` (to a device, from the disk), `copy_s` (from the node's memory) and `batch_s` (by size)
    are what a profile knows beforehand; 0 and nothing where there is none.
    """

    highest_step: Step = Step.PARKED
    reason: str = ""
    weight_bytes: int = 0
    staged_bytes: int = 0
    parked_bytes: int = 0
    peak_bytes: int = 0
    device_bytes: int = 0
    build_s: float = 0.0
    run_s: float = 0.0
    load_s: float = 0.0
    copy_s: float = 0.0
    batch_s: dict[int, float] = {}
    primed: bool = False
    rehearsed: bool = False
    """Whether the function's zygote may run the model once before it forks workers."""
    pack: str = ""
    parts: tuple[PartFacts, ...] = ()
    endpoints: tuple[EndpointSpec, ...] = ()

    @property
    def model_bytes(self) -> int:
        """Of all its workers' weights."""
        return self.weight_bytes + sum(part.weight_bytes for part in self.parts)


class DeviceSpec(msgspec.Struct, frozen=True):
    """An accelerator of a node, or what stands for one. It runs `at_once` requests, or batches, at a time.
    Each worker there takes `context_bytes` beside its model."""

    device: DeviceId
    capacity_bytes: int
    at_once: int = 1
    context_bytes: int = 0


class NodeSpec(msgspec.Struct, frozen=True):
    """What one machine offers. `budget_bytes` bounds everything that Glowplug holds there, idle or busy."""

    node: str
    budget_bytes: int
    cores: int = 1
    devices: tuple[DeviceSpec, ...] = ()
