"""Devices, nodes and models for a simulation: from a few settings to a scenario.

Function i is a model of its own, with profile i mod (number of profiles).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np

from glowplug.core.events import Deployed, Event, NodeJoined
from glowplug.core.ids import DeviceId, EnvironmentId, FunctionId, VersionId
from glowplug.core.priority import PriorityLabel
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, Declaration, DeviceSpec, EndpointSpec, FunctionSpec, NodeSpec
from glowplug.sim.faults import Fault
from glowplug.sim.gateway import Ask
from glowplug.sim.models import ModelProfile
from glowplug.sim.planned_faults import Strike, scenario
from glowplug.sim.profile import Profile
from glowplug.sim.simulation import Simulation
from glowplug.sim.workloads.trace import Trace

_UNBOUNDED = 10**9
_AMPLE_BYTES = 10**15
NEVER_S = 1e9
"""A timeout that is none."""


class FleetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What stands where, and who decides.

    With the loader `paper` every load takes the profile's `load_s`, whatever was loaded before. With `ours`
    a load goes through the node's memory, of which models may take `host_bytes`, and the next one on that
    node is a copy at `copy_bytes_per_s` of all that the model takes of a device, unless the profile has
    measured it.

    `told` is what the controller believes of loads and runs at first, as a factor: 1/3 is a profile that
    promises too much. Without `max_batch` requests run one by one. `max_queue` bounds what waits for one
    function, `max_queued` what waits for all.

    `shared_context_bytes` are the part of each profile's `device_bytes` that is a process's context, where it
    lies on each device once and for all, for the models of everybody.
    """

    devices: Annotated[int, msgspec.Meta(ge=1)] = 12
    nodes: Annotated[int, msgspec.Meta(ge=1)] = 1
    device_bytes: Annotated[int, msgspec.Meta(ge=1)] = 8 * 10**9
    loader: Literal["paper", "ours"] = "paper"
    copy_bytes_per_s: Annotated[float, msgspec.Meta(gt=0)] = 12e9
    host_bytes: Annotated[int, msgspec.Meta(ge=0)] = 256 * 10**9
    shared_context_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    scheduling: str = "finish-first"
    eviction: str = "value-per-byte"
    max_batch: Annotated[int, msgspec.Meta(ge=1)] = 1
    latency_target_s: float = 0.0
    told: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    jitter: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    timeout_s: float = NEVER_S
    max_queue: int = _UNBOUNDED
    max_queued: int = _UNBOUNDED
    namespaces: bool = False
    """Whether each function is of a user of its own."""

    @property
    def control(self) -> ControlSettings:
        """No zygotes: on devices they are no copy's origin, and cost the simulation time."""
        return ControlSettings(
            scheduling=self.scheduling, device_eviction=self.eviction, max_queued=self.max_queued,
            eager_stage=False, reserve_factor=1.0, reserve_margin_bytes=0, environment_estimate_bytes=0,
        )  # fmt: skip


class Fleet(msgspec.Struct, frozen=True):
    """A simulation that has not begun. `functions` are in the order of the profiles they were made of, and
    `runs_s` in theirs: what one request to each takes."""

    simulation: Simulation
    opening: list[tuple[float, Event | Fault]]
    functions: list[FunctionId]
    settings: FleetSettings
    runs_s: list[float]

    def run_s(self, trace: Trace) -> float:
        """What all calls of a trace would take one after the other."""
        return float(np.dot(trace.counts(), self.runs_s))

    def asks(self, trace: Trace, priorities: Sequence[int] = ()) -> Iterator[tuple[float, Ask]]:
        """The calls of a trace, whose function k is this fleet's function k, of class `priorities[k]`."""
        functions, timeout_s = self.functions, self.settings.timeout_s
        for at_s, number in trace.events():
            rank = priorities[number] if priorities else 0
            yield at_s, Ask(functions[number], timeout_s=timeout_s, priority=rank)


def build(
    settings: FleetSettings,
    models: Sequence[ModelProfile],
    functions: int,
    *,
    seed: int = 0,
    keep_log: bool = False,
    labels: Sequence[PriorityLabel] = (),
    strikes: Sequence[Strike] = (),
) -> Fleet:
    """`labels` are the classes of the functions, `interactive` where there are none."""
    standing = nodes_of(settings)
    opening: list[tuple[float, Event | Fault]] = [(0.0, NodeJoined(node)) for node in standing]
    profiles: dict[FunctionId, Profile] = {}
    for number in range(functions):
        model = models[number % len(models)]
        label: PriorityLabel = labels[number] if labels else "interactive"
        spec = _spec(settings, number, label)
        profiles[spec.function] = _profile(settings, model)
        opening.append((0.0, Deployed(spec, _facts(settings, model, settings.told))))
    opening += scenario(strikes, standing)
    simulation = Simulation(profiles, settings.control, seed=seed, keep_log=keep_log)
    runs_s = [profile.run_s for profile in profiles.values()]
    return Fleet(simulation, opening, list(profiles), settings, runs_s)


def nodes_of(settings: FleetSettings) -> list[NodeSpec]:
    """Devices are dealt out to the nodes in turn."""
    by_node: list[list[DeviceSpec]] = [[] for _ in range(settings.nodes)]
    for number in range(settings.devices):
        node = number % settings.nodes
        name = DeviceId(f"n{node}/gpu{len(by_node[node])}")
        by_node[node].append(DeviceSpec(name, settings.device_bytes - settings.shared_context_bytes))
    host_bytes = settings.host_bytes if settings.loader == "ours" else _AMPLE_BYTES
    return [NodeSpec(f"n{number}", host_bytes, 64, tuple(devices)) for number, devices in enumerate(by_node)]


def _spec(settings: FleetSettings, number: int, label: PriorityLabel) -> FunctionSpec:
    name = f"f{number}"
    namespace = name if settings.namespaces else "default"
    declaration = Declaration(
        name=name, kind="model", module="sim", qualname="Model", device="gpu", priority=label,
        namespace=namespace, max_queue=settings.max_queue, max_workers=_UNBOUNDED, timeout_s=NEVER_S,
        latency_target_s=settings.latency_target_s,
        endpoints=(EndpointSpec("predict", max_batch=settings.max_batch),),
    )  # fmt: skip
    return FunctionSpec(
        function=FunctionId(f"{name}.{namespace}"), version=VersionId(f"{name}-v1"), namespace=namespace,
        environment=EnvironmentId("sim"), upload="", declaration=declaration,
    )  # fmt: skip


def _facts(settings: FleetSettings, model: ModelProfile, told: float) -> BundleFacts:
    """With the loader `paper` nothing stays in the node's memory: there are no weights to stay."""
    ours = settings.loader == "ours"
    own_bytes = model.device_bytes - settings.shared_context_bytes
    return BundleFacts(
        device_bytes=own_bytes,
        weight_bytes=own_bytes if ours else 0,
        run_s=model.run_s * told,
        load_s=model.load_s * told,
        copy_s=_copy_s(settings, model) * told if ours else 0.0,
        batch_s={size: took_s * told for size, took_s in model.batch_s.items()},
    )


def _profile(settings: FleetSettings, model: ModelProfile) -> Profile:
    load_s, next_load_s = loads_s(settings, model)
    return Profile(
        environment_s=0.0, environment_bytes=0, descend_s=0.0, jitter=settings.jitter,
        imported_s=load_s, staged_s=next_load_s,
        run_s=model.run_s, batch_s=model.batch_s, facts=_facts(settings, model, 1.0),
    )  # fmt: skip


def loads_s(settings: FleetSettings, model: ModelProfile) -> tuple[float, float]:
    """What a load of the model takes from the disk, and the next one on that node."""
    return model.load_s, _copy_s(settings, model) if settings.loader == "ours" else model.load_s


def _copy_s(settings: FleetSettings, model: ModelProfile) -> float:
    own_bytes = model.device_bytes - settings.shared_context_bytes
    return model.copy_s or own_bytes / settings.copy_bytes_per_s
