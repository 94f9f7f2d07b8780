"""finish-first: every request goes where it will be finished first, and is bound when it can begin.

Nothing is bound to a device that could not begin it now. What must wait waits in one queue, and two questions
are asked again and again. Which of the requests whose models lie on a device that is free to compute is to
run there, and how many of one function as a batch? And would a model that is waited for be computing sooner
on one more device, its load running beside what that device computes? A load pays when the seconds that it
spares those who wait, and what the copy is worth later, are more than what is evicted for it is worth.

Extends Zhao et al. (IPDPS 2023), whose LALB binds when a device is idle and weighs one device against a load.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain, islice
from math import inf

import msgspec

from glowplug.core.ids import DeviceId, FunctionId
from glowplug.policy.scheduling import Decision, DeviceView, FleetView, Load, Send
from glowplug.policy.scheduling.ahead import fill
from glowplug.policy.scheduling.batches import each_s, together
from glowplug.policy.scheduling.rooms import turn
from glowplug.policy.scheduling.turns import filled_s, most_copies, spared_s, turns_before

_EVERY_DEVICE_UP_TO = 32
_SAMPLED = 12
"""Of more devices so many that are open, and as many others, are looked at for a load."""
_LOOK_AGAIN_SHARE = 0.04
"""Of a load's seconds: nothing changes faster by so much that a function's queue would have to be weighed
again."""
_MUST = 1e9
_SURELY = 1 - 1e-9
"""Of a bound that is a sum in another order than what it bounds."""
_AHEAD_AGAIN_S = 0.25
_NOTHING_AHEAD_AGAIN_S = 1.0
"""When free memory is looked at again after something, and after nothing, was loaded ahead."""
_RECENT = 64
"""So many functions are considered for that: those that ran last."""


class FinishFirst(msgspec.Struct):
    """A copy's worth is the seconds it spares within `horizon_s`; each further one spares `discount` of the
    one before: about how often those before it are all busy. `looked_s` is when a function's queue is weighed
    again. `recent` functions ran last, and `ahead_s` is when free memory is looked at again.

    Functions take turns by the start tags of fair queueing (Goyal et al., SIGCOMM 1996): `served_s` is how
    far each has been served, `virtual_s` how far all have, so that one that asks for more than its share
    waits by itself.
    """

    horizon_s: float = 60.0
    discount: float = 0.4
    looked_s: dict[FunctionId, float] = {}
    turn: int = 0
    served_s: dict[FunctionId, float] = {}
    virtual_s: float = 0.0
    recent: dict[FunctionId, None] = {}
    ahead_s: float = 0.0

    def decide(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        if view.ready:
            yield from self._run(view, now_s)
        if view.waiting_by_function:
            yield from self._load(view, now_s)
        if now_s >= self.ahead_s:
            yield from self._load_ahead(view, now_s)

    def forget(self, function: FunctionId) -> None:
        self.looked_s.pop(function, None)
        self.served_s.pop(function, None)
        self.recent.pop(function, None)

    def _load(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        looked_s, placed = self.looked_s, view.places
        next_s, never_s = looked_s.get, -inf
        due = [f for f in view.waiting_by_function if f not in placed or now_s >= next_s(f, never_s)]
        if not due:
            return
        candidates, devices = self._candidates(view), view.devices
        for number in candidates:
            if not devices[number].loading:
                break
        else:
            return
        places: list[DeviceId] | None = None
        nodes: Collection[DeviceId] = view.nodes.values()
        if candidates is not devices:
            places, nodes = _places(view, candidates)
        before_s: dict[DeviceId, float] = {}
        pressure_s: dict[DeviceId, float] = {}
        for function in due if len(due) == 1 else _in_turn(view, due):
            if places is not None and not places:
                return
            least_s = _least_load_s(view, function, nodes)
            level_s = self._level_s(view, function, least_s, before_s) if function in placed else inf
            if level_s > least_s and places is None:
                places, nodes = _places(view, candidates)
                least_s = _least_load_s(view, function, nodes)
            if level_s > least_s and places is not None:
                pressure_s = pressure_s or {n: self._pressure_s(view, n, before_s) for n in places}
                best = self._best(view, function, level_s, pressure_s)
                if best is not None:
                    places.remove(best)
                    del pressure_s[best]
                    before_s.clear()
                    yield Load(function, best)
            looked_s[function] = now_s + _LOOK_AGAIN_SHARE * self._load_s(view, function)

    def _load_ahead(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        """Once a function comes less than once within the horizon, no further copy waits for it."""
        self.ahead_s = now_s + _NOTHING_AHEAD_AGAIN_S
        idle = [n for n in self._candidates(view) if not view.devices[n].loading]
        for decision in fill(view, self.recent, idle, 1 / self.horizon_s) if idle else ():
            self.ahead_s = now_s + _AHEAD_AGAIN_S
            yield decision

    def _pressure_s(self, view: FleetView, number: DeviceId, known_s: dict[DeviceId, float]) -> float:
        """Until the device could begin something new: what runs, its line, and of what waits as much as has
        its turn before. `known_s` has what was worked out since the last decision."""
        seconds = known_s.get(number)
        if seconds is not None:
            return seconds
        device, waiting, copies = view.devices[number], view.waiting_by_function, view.places
        served_s, virtual_s = self.served_s, self.virtual_s
        seconds = device.running_left_s + device.line_s
        for function in filter(waiting.__contains__, chain(device.residents, device.loading)):
            count = waiting[function]
            turns = turns_before(count / len(copies[function]), ahead=served_s.get(function, 0.0) > virtual_s)
            if turns:
                seconds += turns * each_s(view, function, number, count)
        known_s[number] = seconds
        return seconds

    def _level_s(
        self, view: FleetView, function: FunctionId, enough_s: float, known_s: dict[DeviceId, float]
    ) -> float:
        """When the last of those that wait for the function would begin, with the copies that there are: they
        fill up the devices that begin first. Where one of them alone would begin them all before `enough_s`,
        when it would: the others could only be sooner."""
        hosts, count = view.places[function], view.waiting_by_function[function]
        ahead, starts, run_s = self.served_s.get(function, 0.0) > self.virtual_s, [], 0.0
        own = turns_before(count / len(hosts), ahead=ahead)
        for number in hosts:
            run_s = each_s(view, function, number, count)
            others_s = self._pressure_s(view, number, known_s) - own * run_s
            start_s = max(others_s, view.devices[number].load_left_s(function))
            last_s = start_s + (count - 1) * run_s
            if last_s < enough_s * _SURELY:
                return last_s
            starts.append(start_s)
        return filled_s(starts, count, run_s)

    def _candidates(self, view: FleetView) -> Collection[DeviceId]:
        devices = view.devices
        if len(devices) <= _EVERY_DEVICE_UP_TO:
            return devices
        self.turn = (self.turn + _SAMPLED) % len(devices)
        others = [*islice(devices, self.turn, self.turn + _SAMPLED)]
        return dict.fromkeys((*islice(view.open, _SAMPLED), *others))

    def _best(
        self, view: FleetView, function: FunctionId, level_s: float, pressure_s: dict[DeviceId, float]
    ) -> DeviceId | None:
        """Where one more copy pays most, if anywhere."""
        hosts, count = view.where(function), view.waiting_by_function[function]
        if level_s < inf and min(pressure_s.values()) >= level_s:
            return None
        if hosts and len(hosts) >= most_copies(view, function, self.recent):
            return None
        best, best_gain, later = None, 0.0, self._worth(view, function, len(hosts) + 1)
        for number, waits_s in pressure_s.items():
            begins_s = max(view.load_s(function, number), waits_s)
            if begins_s >= level_s or not view.may_load(function, number):
                continue
            victims = view.victims(function, number)
            if any(_is_before(view, victim, function) for victim in victims):
                continue
            gain = later - sum(self._worth(view, victim, len(view.where(victim))) for victim in victims)
            if hosts:
                run_s = each_s(view, function, number, count)
                gain += spared_s(count, len(hosts), level_s - begins_s, run_s)
            else:
                gain += _MUST - begins_s
            if gain > best_gain:
                best, best_gain = number, gain
        return best

    def _run(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        """Sends what can begin at once, in fair turns, each where it is in the way of the least others. No
        batch takes what another device could begin as well."""
        while view.ready:
            for _, start_s, _, function in sorted(self._ready(view)):
                hosts = _open_hosts(view, function)
                if hosts:
                    number = _host(view, function, hosts)
                    share = -(-view.waiting_by_function[function] // len(hosts))
                    requests = together(view, function, number, share, now_s)
                    self.virtual_s = max(self.virtual_s, start_s)
                    self.served_s[function] = start_s + view.run_s(function, number, len(requests))
                    self._note(function)
                    yield Send(requests, number)

    def _note(self, function: FunctionId) -> None:
        self.recent.pop(function, None)
        self.recent[function] = None
        if len(self.recent) > _RECENT:
            del self.recent[next(iter(self.recent))]

    def _ready(self, view: FleetView) -> list[tuple[int, float, float, FunctionId]]:
        ready = []
        for function in view.ready:
            head = view.first(function)
            start_s = max(self.virtual_s, self.served_s.get(function, 0.0))
            ready.append((-head.rank, start_s, head.arrived_s, function))
        return ready

    def _worth(self, view: FleetView, function: FunctionId, copies: int) -> float:
        """Seconds of waiting that the last of so many copies spares within the horizon."""
        asked = view.rate_per_s(function) * self.horizon_s
        return asked / (1 + asked) * self._load_s(view, function) * self.discount ** (copies - 1)

    def _load_s(self, view: FleetView, function: FunctionId) -> float:
        return view.load_s(function, next(iter(view.devices)))


def _places(view: FleetView, candidates: Iterable[DeviceId]) -> tuple[list[DeviceId], Collection[DeviceId]]:
    """The devices that could begin a load, and of each of their nodes one."""
    places = [number for number in candidates if not view.devices[number].loading]
    return places, {view.devices[number].node: number for number in places}.values()


def _least_load_s(view: FleetView, function: FunctionId, nodes: Collection[DeviceId]) -> float:
    if len(nodes) == 1:
        return view.load_s(function, next(iter(nodes)))
    return min([view.load_s(function, number) for number in nodes])


def _in_turn(view: FleetView, functions: Iterable[FunctionId]) -> list[FunctionId]:
    heads = [(view.first(function), function) for function in functions]
    return [turn[2] for turn in sorted((-head.rank, head.arrived_s, function) for head, function in heads)]


def _is_before(view: FleetView, victim: FunctionId, function: FunctionId) -> bool:
    """Whether the victim's only copy is waited for, by who comes first: two that are both waited for would
    else evict each other until their device has time for one."""
    if victim not in view.waiting_by_function or len(view.where(victim)) > 1:
        return False
    return turn(view.first(victim)) < turn(view.first(function))


def _open_hosts(view: FleetView, function: FunctionId) -> list[DeviceId]:
    is_open, devices = view.open, view.devices
    return [n for n in view.where(function) if n in is_open and function in devices[n].residents]


def _host(view: FleetView, function: FunctionId, hosts: list[DeviceId]) -> DeviceId:
    """Of the devices that could run it now the one that others have the least need of."""
    if len(hosts) == 1:
        return hosts[0]
    return min(hosts, key=lambda number: _need(view, view.devices[number], function))


def _need(view: FleetView, device: DeviceView, but: FunctionId) -> float:
    """Requests a second that have come for the other models there, each divided by its copies."""
    return sum(view.rate_per_s(other) / len(view.where(other)) for other in device.residents if other != but)
