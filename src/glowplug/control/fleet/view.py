"""A live, read-only view of all devices for scheduling policies. It meets policy.scheduling."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from itertools import islice
from math import inf

from glowplug.control import offers
from glowplug.control.context import Context
from glowplug.control.fleet import fits
from glowplug.control.fleet.device_view import DeviceView
from glowplug.control.fleet.expected import ExpectedByFunction, batch_s, load_s
from glowplug.control.fleet.records import Device
from glowplug.control.origins import load_origin
from glowplug.control.records import Request
from glowplug.control.worth import device_score_now
from glowplug.core.ids import DeviceId, FunctionId, NodeId

_NOWHERE: Mapping[DeviceId, None] = {}


class FleetView:
    __slots__ = (
        "_c",
        "_event",
        "_functions",
        "_rate_per_s",
        "_records",
        "_requests",
        "_usual_pace",
        "_views",
        "_where",
        "devices",
        "expected",
        "free",
        "half_free",
        "nodes",
        "open",
        "places",
        "ready",
        "waiting_by_function",
    )

    def __init__(self, c: Context) -> None:
        self._c = c
        self._event = 0
        fleet = c.store.fleet
        self.expected = ExpectedByFunction(c)
        self._rate_per_s: dict[FunctionId, float] = {}
        self._usual_pace: float | None = None
        self._records, self._requests = fleet.devices, c.store.requests
        self._functions, self._where = c.store.functions, fleet.where
        self._views: dict[DeviceId, DeviceView] = {}
        self.devices: Mapping[DeviceId, DeviceView] = self._views
        self.free: Collection[DeviceId] = fleet.free.keys()
        self.open: Collection[DeviceId] = fleet.open.keys()
        self.half_free: Collection[DeviceId] = fleet.half_free.keys()
        self.waiting_by_function: Mapping[FunctionId, int] = fleet.waiting_by_function
        self.ready: Collection[FunctionId] = fleet.ready.keys()
        self.places: Mapping[FunctionId, Mapping[DeviceId, None]] = fleet.where
        self.nodes: dict[NodeId, DeviceId] = {}
        for device in fleet.devices.values():
            self.add(device)

    def refresh(self) -> None:
        """A round of decisions begins. Since another event rates have faded."""
        self._usual_pace = None
        if self._event != self._c.store.events:
            self._event = self._c.store.events
            self._rate_per_s.clear()

    def add(self, device: Device) -> None:
        self._views[device.id] = DeviceView(self._c, device, self)
        self.nodes[device.node] = device.id

    def remove(self, device: DeviceId) -> None:
        self._views.pop(device, None)
        self.nodes = {view.node: view.id for view in self._views.values()}

    def waiting(self) -> Iterator[Request]:
        return map(self._c.store.requests.__getitem__, self._c.store.fleet.waiting)

    def first(self, function: FunctionId) -> Request:
        return self._requests[self._functions[function].queue.head()]

    def some(self, function: FunctionId, most: int) -> Iterator[Request]:
        queue, requests = self._c.store.functions[function].queue, self._c.store.requests
        head = queue.head()
        yield requests[head]
        yield from islice((requests[number] for number in queue if number != head), most - 1)

    def namespace(self, function: FunctionId) -> str:
        return self.expected[function].version.spec.namespace

    def where(self, function: FunctionId) -> Mapping[DeviceId, None]:
        return self._where.get(function, _NOWHERE)

    def run_s(self, function: FunctionId, device: DeviceId, count: int = 1) -> float:
        found = self.expected[function]
        took_s = found.alone_s if count == 1 else batch_s(self._c, function, count)
        return took_s * self._records[device].pace

    def usual_run_s(self, function: FunctionId) -> float:
        if self._usual_pace is None:
            self._usual_pace = self._c.store.fleet.usual_pace
        return self.expected[function].alone_s * self._usual_pace

    def load_s(self, function: FunctionId, device: DeviceId) -> float:
        node = self._views[device].node
        found = self.expected[function]
        found_s = found.load_s.get(node)
        if found_s is None:
            found_s = found.load_s[node] = load_s(self._c, found.version, node)
        return found_s

    def model_bytes(self, function: FunctionId) -> int:
        return self.expected[function].model_bytes

    def most_at_once(self, function: FunctionId) -> int:
        return self.expected[function].most_at_once

    def latency_target_s(self, function: FunctionId) -> float:
        return self.expected[function].latency_target_s

    def may_load(self, function: FunctionId, device: DeviceId) -> bool:
        c, expected = self._c, self.expected[function]
        version, fleet, record = expected.version, c.store.fleet, self._records[device]
        if function in record.residents or function in record.loading or record.paused_until_s:
            return False
        if len(fleet.where.get(function, ())) >= version.spec.declaration.max_workers:
            return False
        if record.node in version.unfit_on:
            return False
        offers.settle(c)
        room_bytes = fleet.ledger.free_bytes(device) + fleet.ledger.leaving[device]
        need_bytes = expected.model_bytes + record.context_bytes
        return room_bytes + c.policies.device_eviction.offered(device) >= need_bytes

    def could_hold(self, function: FunctionId, device: DeviceId) -> bool:
        version, record = self.expected[function].version, self._records[device]
        return not record.paused_until_s and fits.suits(self._c, record, version)

    def has_room(self, function: FunctionId, device: DeviceId) -> bool:
        c, version = self._c, self.expected[function].version
        record = c.store.fleet.devices[device]
        if not fits.may_come_ahead(c, self._functions[function]):
            return False
        if load_origin(c, version, record.node) is None or not fits.has_free_room(c, record, version):
            return False
        return self.may_load(function, device)

    def is_paused(self, device: DeviceId) -> bool:
        """Nothing is loaded there for a while, since a load failed."""
        return self._c.store.fleet.devices[device].paused_until_s > 0

    def victims(self, function: FunctionId, device: DeviceId) -> list[FunctionId]:
        c, ledger = self._c, self._c.store.fleet.ledger
        need_bytes = self.expected[function].model_bytes + self._records[device].context_bytes
        short_bytes = need_bytes - ledger.free_bytes(device) - ledger.leaving[device]
        if short_bytes <= 0:
            return []
        offers.settle(c)
        keys = c.policies.device_eviction.victims(device, short_bytes, (), inf, partial(device_score_now, c))
        return [c.store.holdings[key].function or FunctionId("") for key in keys]

    def rate_per_s(self, function: FunctionId) -> float:
        found = self._rate_per_s.get(function)
        if found is None:
            found = self._c.policies.arrivals.rate_per_s(function, self._c.now_s)
            self._rate_per_s[function] = found
        return found
