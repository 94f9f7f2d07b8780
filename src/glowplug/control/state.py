"""The controller: `handle(event, now_s) -> commands`. Pure; every handler's place is in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from glowplug.control import (
    bindings,
    builds,
    goals,
    holdings,
    instances,
    lending,
    measurements,
    nodes,
    outcomes,
    requests,
    resting,
    settling,
    timers,
    versions,
)
from glowplug.control.context import Context, Policies
from glowplug.control.fleet import devices
from glowplug.control.records import Function, Node, Store
from glowplug.control.validate import check
from glowplug.core import events as e
from glowplug.core.commands import Command
from glowplug.core.ids import FunctionId, NodeId
from glowplug.core.ladder import Step
from glowplug.core.settings import ControlSettings
from glowplug.policy.arrivals import Arrivals
from glowplug.policy.costs import Costs
from glowplug.policy.preload.forecast import Forecast
from glowplug.policy.registry import POLICIES, policy_class

_PREWARM = "prewarm/"
"""Before the name of a prewarm policy: all of them are there, since functions may ask for any."""


class _Snapshot(msgspec.Struct):
    settings: ControlSettings
    store: Store
    policies: dict[str, msgspec.Raw]


def _policy_types(settings: ControlSettings) -> dict[str, Any]:
    """The class of each policy, by its name in a snapshot."""
    return {
        "costs": Costs,
        "arrivals": Arrivals,
        "dispatch": policy_class("dispatch", settings.dispatch),
        "eviction": policy_class("eviction", settings.eviction),
        "scheduling": policy_class("scheduling", settings.scheduling),
        "device_eviction": policy_class("eviction", settings.device_eviction),
        "preload": policy_class("preload", settings.preload),
        "predictors": Forecast,
        **{_PREWARM + name: policy_class("prewarm", name) for name in POLICIES["prewarm"]},
    }


def _policies(by_name: dict[str, Any]) -> Policies:
    prewarm = {name: by_name.pop(_PREWARM + name) for name in POLICIES["prewarm"]}
    return Policies(**by_name, prewarm=prewarm)


def _policy_called(name: str, policies: Policies) -> Any:
    if name.startswith(_PREWARM):
        return policies.prewarm[name.removeprefix(_PREWARM)]
    return getattr(policies, name)


def _on_lease_report(c: Context, event: e.LeaseReport) -> None:
    instance = c.store.instances.get(event.instance)
    if instance is not None and instance.leases:
        first = False
        if lending.take_report(c, instance, event):
            first = c.store.preloads.note_used(instance.id)
            bindings.note_served(c, instance)
            requests.tell_predictors(c, c.function_of(instance))
        instances.released(c, instance)
        if first:
            # While it was unused its time to go was the pre-load policy's to say.
            resting.on_keep_timer(c, instance)


HANDLERS: dict[type, Callable[[Context, Any], None]] = {
    e.Deployed: versions.on_deployed,
    e.Built: builds.on_built,
    e.RollbackRequested: versions.on_rollback,
    e.Undeployed: lambda c, event: versions.on_undeployed(c, event.function),
    e.ScaleRequested: versions.on_scale,
    e.ClimbRequested: lambda c, event: goals.aim(c, event.function, event.step),
    e.DescendRequested: lambda c, event: goals.aim(c, event.function, event.step),
    e.RequestArrived: requests.on_arrived,
    e.RequestStarted: requests.on_started,
    e.RequestDone: instances.on_request_done,
    e.RequestCancelled: requests.on_cancelled,
    e.ClimbProgress: holdings.on_progress,
    e.StepReached: outcomes.on_step_reached,
    e.StepLost: outcomes.on_step_lost,
    e.InstanceExited: outcomes.on_instance_exited,
    e.CommandFailed: outcomes.on_command_failed,
    e.LeaseReport: _on_lease_report,
    e.NodeJoined: nodes.on_joined,
    e.NodeLost: nodes.on_lost,
    e.DeviceJoined: devices.on_joined,
    e.DeviceLost: devices.on_lost,
    e.ContextWaits: devices.on_context,
    e.PressureChanged: nodes.on_pressure,
    e.HeldChanged: measurements.measured,
    e.TimerFired: timers.on_fired,
}


class ControlState:
    """All that is known and decided about functions, instances and memory.

    `handle` is the only way in, and its commands the only way out: no clock, no I/O, no locks. Times are
    seconds of whatever clock the caller uses, and never run backwards. An unknown or outdated id in an
    event is ignored, since an event may cross the command that made it void.
    """

    def __init__(self, settings: ControlSettings | None = None) -> None:
        settings = settings or ControlSettings()
        made = {name: kind() for name, kind in _policy_types(settings).items()}
        policy_class("prewarm", settings.prewarm)
        self._context = Context(settings, Store(), _policies(made))

    def handle(self, event: e.Event, now_s: float) -> list[Command]:
        """What is to be done about `event`, in this order."""
        c = self._context
        c.now_s = now_s
        c.store.events += 1
        c.reweigh()
        HANDLERS[type(event)](c, event)
        settling.settle(c)
        commands, c.out = c.out, []
        return commands

    @property
    def context(self) -> Context:
        """For this package's own modules (status.py, validate.py) and tests; read-only for all others."""
        return self._context

    @property
    def functions(self) -> Mapping[FunctionId, Function]:
        """Live; not to be changed."""
        return self._context.store.functions

    @property
    def nodes(self) -> Mapping[NodeId, Node]:
        """Live; not to be changed."""
        return self._context.store.nodes

    def standing(self, function: FunctionId) -> Step:
        """Where the function stands now, leaving instances included; REMOTE when there is none."""
        record = self._context.store.functions.get(function)
        return Step.REMOTE if record is None else goals.standing(self._context, record)

    def is_sent(self, function: FunctionId, step: Step) -> bool:
        """Whether a move by hand is still under way, or holds it at `step`: until the function's next
        request."""
        record = self._context.store.functions.get(function)
        return record is not None and (record.goal is not None or record.hold == step)

    def validate(self) -> None:
        """Raises AssertionError naming the first invariant that does not hold."""
        check(self._context)

    def snapshot(self) -> bytes:
        """Everything, policies included. `from_snapshot` goes on as if nothing had happened."""
        c, encode = self._context, msgspec.msgpack.encode
        raw = {
            name: msgspec.Raw(encode(_policy_called(name, c.policies))) for name in _policy_types(c.settings)
        }
        return encode(_Snapshot(c.settings, c.store, raw))

    @classmethod
    def from_snapshot(cls, data: bytes) -> ControlState:
        """Raises msgspec.DecodeError when `data` is not a whole snapshot."""
        decode = msgspec.msgpack.decode
        snapshot = decode(data, type=_Snapshot)
        settings, raw = snapshot.settings, snapshot.policies
        state = cls(settings)
        read = {name: decode(raw[name], type=kind) for name, kind in _policy_types(settings).items()}
        state._context = Context(settings, snapshot.store, _policies(read))
        return state
