"""Which requests run where, over all devices: one order of what waits, one view of what lies where.

The view is live and read-only. A policy is asked whenever something changed, and yields its decisions one by
one; each is carried out before the policy goes on, so that it sees what it has done.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol

import msgspec

from glowplug.core.ids import DeviceId, FunctionId, NodeId, RequestId


class Send(msgspec.Struct, frozen=True, gc=False):
    """Binds requests of one function, as one batch, to a device: they stand in its line from now on, and run
    there when their model has come and their turn too. A load begins where it is needed."""

    requests: tuple[RequestId, ...]
    device: DeviceId


class Load(msgspec.Struct, frozen=True, gc=False):
    """Brings a function's model to a device, for no request in particular."""

    function: FunctionId
    device: DeviceId


Decision = Send | Load


class WaitingView(Protocol):
    """A request that waits and is bound to nothing yet."""

    @property
    def id(self) -> RequestId: ...

    @property
    def function(self) -> FunctionId: ...

    @property
    def arrived_s(self) -> float: ...

    @property
    def rank(self) -> int:
        """Its class, of core.priority."""

    skips: int
    """For the policy: how often it passed this request over. The only thing that a policy may write."""


class DeviceView(Protocol):
    """One device. Seconds are from now, and estimates."""

    @property
    def id(self) -> DeviceId: ...

    @property
    def node(self) -> NodeId: ...

    @property
    def may_compute(self) -> bool:
        """A batch more could run at once, and none is in its line."""

    @property
    def residents(self) -> Mapping[FunctionId, object]:
        """The functions whose models lie here, ready to run."""

    def is_at_work(self, function: FunctionId) -> bool:
        """Whether its model lies here and runs a batch, so that another would wait for it."""

    @property
    def loading(self) -> Mapping[FunctionId, object]:
        """The functions whose models are on their way here, or wait for room here."""

    @property
    def free_bytes(self) -> int:
        """Of its memory, what nothing takes."""

    @property
    def running_left_s(self) -> float:
        """Until what runs now is done; 0 when nothing runs."""

    @property
    def line_s(self) -> float:
        """The run times of all that stands in its line."""

    def load_left_s(self, function: FunctionId) -> float:
        """Until the function's model, which is loading here, is ready; 0 when it lies here, infinite when
        neither."""

    @property
    def loads_left_s(self) -> float:
        """Until all that is being loaded has come: when another load could begin."""


class FleetView(Protocol):
    """All devices, and all that waits for them."""

    @property
    def devices(self) -> Mapping[DeviceId, DeviceView]: ...

    @property
    def nodes(self) -> Mapping[NodeId, DeviceId]:
        """By node one of its devices."""

    @property
    def free(self) -> Collection[DeviceId]:
        """The devices that neither run, load nor hold a line, those first that became so the longest ago."""

    @property
    def open(self) -> Collection[DeviceId]:
        """The devices that `may_compute`, those first that became so the longest ago."""

    @property
    def half_free(self) -> Collection[DeviceId]:
        """The devices that compute and load nothing, and those that load one model and compute nothing, those
        first that became so the longest ago; nothing is in their line but who waits for that model."""

    def waiting(self) -> Iterator[WaitingView]:
        """What waits, higher classes first, first come first in each. Not to be used further once a decision
        was yielded."""

    @property
    def waiting_by_function(self) -> Mapping[FunctionId, int]:
        """How many requests of each function wait, for those of which any does."""

    @property
    def ready(self) -> Collection[FunctionId]:
        """The functions of which requests wait and whose models lie on devices that `may_compute`."""

    @property
    def places(self) -> Mapping[FunctionId, Mapping[DeviceId, object]]:
        """`where` by function, for those whose model lies or comes anywhere."""

    def first(self, function: FunctionId) -> WaitingView:
        """Whose turn it is among the waiting requests of a function that has any."""

    def some(self, function: FunctionId, most: int) -> Iterable[WaitingView]:
        """So many of them, or as many as wait: whose turn it is, and then the others in their order."""

    def namespace(self, function: FunctionId) -> str: ...

    def where(self, function: FunctionId) -> Mapping[DeviceId, object]:
        """The devices where its model lies or is on its way."""

    def run_s(self, function: FunctionId, device: DeviceId, count: int = 1) -> float:
        """Expected seconds of a batch of `count`."""

    def usual_run_s(self, function: FunctionId) -> float:
        """Expected seconds of a run on a device that is neither slower nor faster than the others."""

    def load_s(self, function: FunctionId, device: DeviceId) -> float:
        """Expected seconds of bringing its model there from where its node has it, without waiting."""

    def model_bytes(self, function: FunctionId) -> int:
        """What its model takes of any device, a context of its own aside."""

    def most_at_once(self, function: FunctionId) -> int:
        """The largest batch that the function takes."""

    def latency_target_s(self, function: FunctionId) -> float:
        """0: none."""

    def may_load(self, function: FunctionId, device: DeviceId) -> bool:
        """Whether it would fit, be it by evicting what is idle, and may have one more copy."""

    def could_hold(self, function: FunctionId, device: DeviceId) -> bool:
        """Whether it would fit if nothing there were at work."""

    def has_room(self, function: FunctionId, device: DeviceId) -> bool:
        """Whether it may be loaded there into memory that nothing takes, of the device and of its node."""

    def victims(self, function: FunctionId, device: DeviceId) -> Collection[FunctionId]:
        """Whose models would be evicted there for it."""

    def rate_per_s(self, function: FunctionId) -> float:
        """How often it is asked for, by the fading count of policy.arrivals."""


class SchedulingPolicy(Protocol):
    """A msgspec Struct, whose fields are its state."""

    def decide(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        """What to do now; nothing is an answer too. Called again after every event that changed something,
        also when nobody waits."""

    def forget(self, function: FunctionId) -> None:
        """The function is gone for good."""
