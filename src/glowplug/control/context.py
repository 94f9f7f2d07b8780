"""What every handler works with: the records, the policies, and the commands of the event at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from glowplug.control.records import Function, Holding, Instance, Store, Version
from glowplug.core.commands import ClearTimer, Command, SetTimer
from glowplug.core.ids import CommandId, DeviceId, FunctionId, InstanceId, NodeId
from glowplug.core.rng import Rng, rng_for
from glowplug.core.settings import ControlSettings
from glowplug.policy.arrivals import Arrivals
from glowplug.policy.costs import Costs
from glowplug.policy.dispatch import DispatchPolicy
from glowplug.policy.eviction import EvictionPolicy
from glowplug.policy.preload import PreloadPolicy
from glowplug.policy.preload.forecast import Forecast
from glowplug.policy.prewarm import PrewarmPolicy
from glowplug.policy.scheduling import SchedulingPolicy

if TYPE_CHECKING:
    from glowplug.control.fleet.view import FleetView


class Policies(msgspec.Struct):
    """`foresee` is whether any of them asks when functions will be called: to know that takes time."""

    costs: Costs
    arrivals: Arrivals
    dispatch: DispatchPolicy
    eviction: EvictionPolicy
    scheduling: SchedulingPolicy
    device_eviction: EvictionPolicy
    preload: PreloadPolicy
    predictors: Forecast
    prewarm: dict[str, PrewarmPolicy]
    foresee: bool = False

    def __post_init__(self) -> None:
        self.foresee = self.preload.foresees or self.eviction.timely or self.device_eviction.timely


class Context:
    """A handler changes records and emits commands. What follows from that it only marks. When it is done,
    settling.py does each marked thing once:

    - `dirty`: functions to look at again;
    - `freed`: nodes whose memory is offered to functions that wait for some;
    - `idled`: instances to lend or let go;
    - `unoffered`: instances to offer for eviction (offers.py);
    - `moved`: devices whose lines move on, and `fleet_check`: whether the fleet is scheduled;
    - `invoked`: instances that began to serve, and `preload_check`: whether the pre-load policy is asked;
    - `build_check`: whether the next builds may start.
    """

    __slots__ = (
        "build_check",
        "dirty",
        "displaced_s",
        "fleet_check",
        "fleet_view",
        "freed",
        "idled",
        "invoked",
        "moved",
        "needed_at_s",
        "needed_soon",
        "now_s",
        "out",
        "policies",
        "preload_check",
        "scores",
        "settings",
        "store",
        "unoffered",
    )

    def __init__(self, settings: ControlSettings, store: Store, policies: Policies) -> None:
        self.settings = settings
        self.store = store
        self.policies = policies
        self.now_s = 0.0
        self.out: list[Command] = []
        self.dirty: dict[FunctionId, None] = {}
        self.freed: dict[NodeId, None] = {}
        self.idled: dict[InstanceId, None] = {}
        self.unoffered: dict[InstanceId, None] = {}
        self.build_check = False
        self.fleet_check = False
        self.moved: dict[DeviceId, None] = {}
        self.preload_check = False
        self.invoked: dict[InstanceId, None] = {}
        self.needed_soon: dict[FunctionId, float] = {}
        """How likely each function is called soon, as far as somebody asked (worth.py)."""
        self.needed_at_s = 0.0
        """When `needed_soon` was computed. It is cleared at each arrival and when time moves on."""
        self.scores: dict[str, float] = {}
        """What holdings are worth now, as far as somebody asked (worth.py), by their keys."""
        self.displaced_s: dict[tuple[NodeId, int, float], float] = {}
        """What it would cost to take so many bytes of a node for less than a limit, likewise (victims.py)."""
        self.fleet_view: FleetView | None = None
        """Made by control.fleet.schedule when it is first needed."""

    def emit(self, command: Command) -> None:
        self.out.append(command)

    def command_id(self) -> CommandId:
        self.store.commands_made += 1
        return CommandId(self.store.commands_made)

    def instance_id(self) -> InstanceId:
        self.store.instances_made += 1
        return InstanceId(self.store.instances_made)

    def rng(self) -> Rng:
        return rng_for(self.settings.seed, self.store.events)

    def touch(self, function: FunctionId | None) -> None:
        if function is not None:
            self.dirty[function] = None

    def reweigh(self) -> None:
        """What memory holds, what of it may go, or what something in it is worth has changed, or may have:
        from now on it is worked out again. Who changes such a thing says so; so does each event, as time
        moves on."""
        if self.scores or self.displaced_s:
            self.scores.clear()
            self.displaced_s.clear()

    def revalue(self, function: FunctionId | None) -> None:
        """What is expected of the function's runs and loads, or of all functions', has changed."""
        if self.fleet_view is None:
            return
        if function is None:
            self.fleet_view.expected.clear()
        else:
            self.fleet_view.expected.pop(function, None)

    def function_of(self, instance: Instance) -> Function:
        return self.store.functions[instance.function]

    def version_of(self, instance: Instance) -> Version:
        return self.store.versions[instance.version]

    def holding_of(self, instance: Instance) -> Holding:
        return self.store.holdings[instance.key]

    def set_timer(self, key: str, at_s: float) -> None:
        self.store.timers[key] = at_s
        self.out.append(SetTimer(key, at_s))

    def retry_by(self, function: FunctionId, at_s: float) -> None:
        """The function is looked at again then, or sooner."""
        key = f"retry:{function}"
        armed_s = self.store.timers.get(key)
        if armed_s is None or at_s < armed_s:
            self.set_timer(key, at_s)

    def clear_timer(self, key: str) -> None:
        if self.store.timers.pop(key, None) is not None:
            self.out.append(ClearTimer(key))
