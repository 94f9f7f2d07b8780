"""Live, read-only views of all devices for scheduling policies. They meet policy.scheduling."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from itertools import islice
from math import inf

from glowplug.control.context import Context
from glowplug.control.estimates import device_bytes, device_score_now, load_origin
from glowplug.control.fleet.records import Device, Running
from glowplug.control.records import Request, Version
from glowplug.core.ids import DeviceId, FunctionId, InstanceId, NodeId
from glowplug.core.ladder import Step

_OVERDUE_SHARE = 0.25
_SHORTEST_S = 1e-6


class DeviceView:
    __slots__ = ("_c", "_device", "id", "loading", "node", "residents")

    def __init__(self, c: Context, device: Device) -> None:
        self._c = c
        self._device = device
        self.id: DeviceId = device.id
        self.node: NodeId = device.node
        self.residents: Mapping[FunctionId, InstanceId] = device.residents
        self.loading: Mapping[FunctionId, InstanceId | None] = device.loading

    @property
    def may_compute(self) -> bool:
        device = self._device
        return not device.line and len(device.running) < device.at_once

    @property
    def running_left_s(self) -> float:
        device = self._device
        if len(device.running) < device.at_once:
            return 0.0
        return min(map(self._left_s, device.running.values()))

    @property
    def line_s(self) -> float:
        return self._device.line_s

    @property
    def loads_left_s(self) -> float:
        return self._loads_until(None)

    def load_left_s(self, function: FunctionId) -> float:
        device = self._device
        if function in device.residents:
            return 0.0
        return self._loads_until(function) if function in device.loading else inf

    def _loads_until(self, last: FunctionId | None) -> float:
        """They come one after another, in the order they were asked for."""
        c, left_s = self._c, -inf
        for function, number in self._device.loading.items():
            expected_s = load_s(c, function, self._device)
            since_s = c.now_s
            if number is not None:
                since_s = c.store.holdings[c.store.instances[number].key].since_s
            left_s = _left_s(max(left_s, since_s - c.now_s) + expected_s, expected_s)
            if function == last:
                break
        return max(left_s, 0.0)

    def _left_s(self, running: Running) -> float:
        return _left_s(running.since_s + running.expected_s - self._c.now_s, running.expected_s)


class FleetView:
    __slots__ = ("_c", "_views", "devices", "free", "half_free", "open", "waiting_by_function")

    def __init__(self, c: Context) -> None:
        self._c = c
        fleet = c.store.fleet
        self._views: dict[DeviceId, DeviceView] = {}
        self.devices: Mapping[DeviceId, DeviceView] = self._views
        self.free: Collection[DeviceId] = fleet.free.keys()
        self.open: Collection[DeviceId] = fleet.open.keys()
        self.half_free: Collection[DeviceId] = fleet.half_free.keys()
        self.waiting_by_function: Mapping[FunctionId, int] = fleet.waiting_by_function
        for device in fleet.devices.values():
            self.add(device)

    def add(self, device: Device) -> None:
        self._views[device.id] = DeviceView(self._c, device)

    def remove(self, device: DeviceId) -> None:
        self._views.pop(device, None)

    def waiting(self) -> Iterator[Request]:
        return map(self._c.store.requests.__getitem__, self._c.store.fleet.waiting)

    def first(self, function: FunctionId) -> Request:
        return self._c.store.requests[self._c.store.functions[function].queue.head()]

    def some(self, function: FunctionId, most: int) -> Iterator[Request]:
        queue, requests = self._c.store.functions[function].queue, self._c.store.requests
        head = queue.head()
        yield requests[head]
        yield from islice((requests[number] for number in queue if number != head), most - 1)

    def namespace(self, function: FunctionId) -> str:
        return _version(self._c, function).spec.namespace

    def where(self, function: FunctionId) -> Mapping[DeviceId, None]:
        return self._c.store.fleet.where.get(function, {})

    def run_s(self, function: FunctionId, device: DeviceId, count: int = 1) -> float:
        c = self._c
        version = c.store.functions[function].active or ""
        return max(_SHORTEST_S, c.policies.costs.batch_s(version, count)) * c.store.fleet.devices[device].pace

    def load_s(self, function: FunctionId, device: DeviceId) -> float:
        return load_s(self._c, function, self._c.store.fleet.devices[device])

    def most_at_once(self, function: FunctionId) -> int:
        return most_at_once(_version(self._c, function))

    def latency_target_s(self, function: FunctionId) -> float:
        return _version(self._c, function).spec.declaration.latency_target_s

    def may_load(self, function: FunctionId, device: DeviceId) -> bool:
        c, version = self._c, _version(self._c, function)
        fleet, record = c.store.fleet, c.store.fleet.devices[device]
        if function in record.residents or function in record.loading or record.paused_until_s:
            return False
        if len(fleet.where.get(function, ())) >= version.spec.declaration.max_workers:
            return False
        if record.node in version.unfit_on:
            return False
        room_bytes = fleet.ledger.free_bytes(device) + fleet.ledger.leaving[device]
        return room_bytes + c.policies.device_eviction.offered(device) >= device_bytes(version, record)

    def is_paused(self, device: DeviceId) -> bool:
        """Nothing is loaded there for a while, since a load failed."""
        return self._c.store.fleet.devices[device].paused_until_s > 0

    def victims(self, function: FunctionId, device: DeviceId) -> list[FunctionId]:
        c, fleet, ledger = self._c, self._c.store.fleet, self._c.store.fleet.ledger
        need_bytes = device_bytes(_version(c, function), fleet.devices[device])
        short_bytes = need_bytes - ledger.free_bytes(device) - ledger.leaving[device]
        if short_bytes <= 0:
            return []
        keys = c.policies.device_eviction.victims(device, short_bytes, (), inf, partial(device_score_now, c))
        return [c.store.holdings[key].function or FunctionId("") for key in keys]

    def rate_per_s(self, function: FunctionId) -> float:
        return self._c.policies.arrivals.rate_per_s(function, self._c.now_s)


def _left_s(left_s: float, expected_s: float) -> float:
    """What is overdue may take a while yet."""
    return left_s if left_s > 0 else expected_s * _OVERDUE_SHARE


def load_s(c: Context, function: FunctionId, device: Device) -> float:
    version = _version(c, function)
    origin = load_origin(c, version, device.node)
    costs, spec = c.policies.costs, version.spec
    environment_s = 0.0
    if origin is None and spec.environment_key not in c.store.environments:
        environment_s = costs.expect_s(spec.environment_key, "environment")
    return environment_s + costs.climb_s(spec.version, origin or Step.IMPORTED)


def most_at_once(version: Version) -> int:
    """The least of its endpoints' largest batches: a batch may hold requests of any of them."""
    facts = version.facts
    endpoints = (facts.endpoints if facts is not None else ()) or version.spec.declaration.endpoints
    return min((endpoint.max_batch for endpoint in endpoints), default=1)


def _version(c: Context, function: FunctionId) -> Version:
    record = c.store.functions[function]
    number = record.active or record.next
    assert number is not None
    return c.store.versions[number]
