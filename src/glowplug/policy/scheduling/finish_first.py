"""finish-first: every request goes where it will be finished first, and is bound when it can begin.

Nothing is bound to a device that could not begin it now. What must wait waits in one queue, and two questions
are asked again and again. Which of the requests whose models lie on a device that is free to compute is to
run there, and how many of one function as a batch? And would a model that is waited for be computing sooner
on one more device, its load running beside what that device computes? A load pays when the seconds that it
spares those who wait, and what the copy is worth later, are more than what is evicted for it is worth.

While the devices can do what is asked of them, first come is first served: whatever the order, all wait as
long in sum, and in this one the slowest wait least. Under overload functions take turns.

Extends Zhao et al. (IPDPS 2023), whose LALB binds when a device is idle and weighs one device against a load.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from math import inf

import msgspec

from glowplug.core.ids import DeviceId, FunctionId
from glowplug.policy.scheduling import Decision, FleetView, Load, Send
from glowplug.policy.scheduling.ahead import fill
from glowplug.policy.scheduling.batches import each_s, together
from glowplug.policy.scheduling.holds import Holds
from glowplug.policy.scheduling.hosts import (
    in_turn,
    least_load_s,
    least_needed,
    open_hosts,
    open_to_loads,
)
from glowplug.policy.scheduling.layout import Layout
from glowplug.policy.scheduling.order import Order
from glowplug.policy.scheduling.queues import Queues
from glowplug.policy.scheduling.turns import most_copies, spared_s
from glowplug.policy.scheduling.working import Working

_EVERY_DEVICE_UP_TO = 32
_SAMPLED = 12
"""Of more devices so many that are open, and as many others, are looked at for a load."""
_LOOK_AGAIN_SHARE = 0.04
"""Of a load's seconds: nothing changes faster by so much that a function's queue would have to be weighed
again."""
_MUST = 1e9
_AHEAD_AGAIN_S = 0.25
_NOTHING_AHEAD_AGAIN_S = 1.0
"""When free memory is looked at again after something, and after nothing, was loaded ahead."""
_RECENT = 64
"""So many functions are considered for that: those that ran last."""
_FURTHER_IN_TURNS = 0.4
"""Of a copy's worth, that of the next one under overload: all devices are busy then, with those who ask for
too much, and it would be theirs."""
_LAID_OUT = 300
"""So many requests are laid out over the devices at most, of what waits, and only where all devices are
looked at: on a thousand it took six times as long as to reckon with two runs of each queue."""


class FinishFirst(msgspec.Struct):
    """A copy's worth is the seconds it spares within `horizon_s`; each further one spares, of what the one
    before does, the share of the devices that were busy of late (`working`), for so often it is needed.
    `looked_s` is when a function's queue is weighed again. `recent` functions ran last, and `ahead_s` is when
    free memory is looked at again.
    """

    horizon_s: float = 60.0
    working: Working = msgspec.field(default_factory=Working)
    order: Order = msgspec.field(default_factory=Order)
    holds: Holds = msgspec.field(default_factory=Holds)
    looked_s: dict[FunctionId, float] = {}
    turn: int = 0
    recent: dict[FunctionId, None] = {}
    ahead_s: float = 0.0

    def decide(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        self.working.pass_until(now_s, self.horizon_s)
        self.order.look(view, self.recent, now_s)
        if self.holds.by_device:
            self.holds.look(view)
        if view.ready:
            yield from self._run(view, now_s)
        if view.waiting_by_function:
            yield from self._load(view, now_s)
        if now_s >= self.ahead_s:
            yield from self._load_ahead(view, now_s)
        self.working.now(1 - len(view.open) / max(1, len(view.devices)))

    def forget(self, function: FunctionId) -> None:
        self.looked_s.pop(function, None)
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
        in_turns = self.order.overloaded or candidates is not devices
        weigh = self._load_in_turns if in_turns else self._load_as_it_came
        yield from weigh(view, now_s, due, candidates)

    def _load_as_it_came(
        self, view: FleetView, now_s: float, due: Collection[FunctionId], candidates: Collection[DeviceId]
    ) -> Iterator[Decision]:
        """Each function is weighed by the last of its requests that is laid out, behind what came before."""
        places, nodes = open_to_loads(view, candidates)
        waiting = [request.function for request in islice(view.waiting(), _LAID_OUT)]
        waiting += sorted(set(due).difference(waiting))
        last = {function: place for place, function in enumerate(waiting)}
        weighed: set[FunctionId] = set()
        layout = Layout(view)
        place = 0
        while place < len(waiting) and places and len(weighed) < len(due):
            function = waiting[place]
            if last[function] == place and function in due and function not in weighed:
                weighed.add(function)
                looked_s = now_s + _LOOK_AGAIN_SHARE * self._load_s(view, function)
                level_s = layout.begins_s(function)
                if level_s > least_load_s(view, function, nodes):
                    pressure_s = {number: layout.free_s(number) for number in places}
                    best = self._best(view, function, level_s, pressure_s, now_s)
                    if best is not None:
                        places, nodes = open_to_loads(view, [each for each in places if each != best])
                        yield Load(function, best)
                        layout, place = Layout(view), -1
                self.looked_s[function] = looked_s
            if place >= 0:
                layout.take(function)
            place += 1

    def _load_in_turns(
        self, view: FleetView, now_s: float, due: list[FunctionId], candidates: Collection[DeviceId]
    ) -> Iterator[Decision]:
        looked_s, placed, devices = self.looked_s, view.places, view.devices
        places: list[DeviceId] | None = None
        nodes: Collection[DeviceId] = view.nodes.values()
        if candidates is not devices:
            places, nodes = open_to_loads(view, candidates)
        queues = Queues(view, self.order.functions)
        pressure_s: dict[DeviceId, float] = {}
        for function in due if len(due) == 1 else in_turn(view, due):
            if places is not None and not places:
                return
            least_s = least_load_s(view, function, nodes)
            level_s = queues.begins_s(function, least_s) if function in placed else inf
            if level_s > least_s and places is None:
                places, nodes = open_to_loads(view, candidates)
                least_s = least_load_s(view, function, nodes)
            if level_s > least_s and places is not None:
                pressure_s = pressure_s or {n: queues.free_s(n) for n in places}
                best = self._best(view, function, level_s, pressure_s, now_s)
                if best is not None:
                    places.remove(best)
                    del pressure_s[best]
                    queues.forget()
                    yield Load(function, best)
            looked_s[function] = now_s + _LOOK_AGAIN_SHARE * self._load_s(view, function)

    def _load_ahead(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        """Once a function comes less than once within the horizon, no further copy waits for it."""
        self.ahead_s = now_s + _NOTHING_AHEAD_AGAIN_S
        held = self.holds.by_device
        idle = [n for n in self._candidates(view) if not view.devices[n].loading and n not in held]
        for decision in fill(view, self.recent, idle, 1 / self.horizon_s) if idle else ():
            self.ahead_s = now_s + _AHEAD_AGAIN_S
            yield decision

    def _candidates(self, view: FleetView) -> Collection[DeviceId]:
        devices = view.devices
        if len(devices) <= _EVERY_DEVICE_UP_TO:
            return devices
        self.turn = (self.turn + _SAMPLED) % len(devices)
        others = [*islice(devices, self.turn, self.turn + _SAMPLED)]
        return dict.fromkeys((*islice(view.open, _SAMPLED), *others))

    def _best(
        self,
        view: FleetView,
        function: FunctionId,
        level_s: float,
        pressure_s: dict[DeviceId, float],
        now_s: float,
    ) -> DeviceId | None:
        """Where one more copy pays most, if anywhere. Where all wait, whatever they ask for, devices are what
        lacks and not copies: one more is to spare more than that wait."""
        hosts, count = view.where(function), view.waiting_by_function[function]
        if level_s < inf and min(pressure_s.values()) >= level_s:
            return None
        if hosts and len(hosts) >= most_copies(view, function, self.recent):
            return None
        later = self._worth(view, function, len(hosts) + 1)
        best, best_gain = None, min(pressure_s.values()) if hosts and not self.order.overloaded else 0.0
        held = self.holds.by_device
        for number, waits_s in pressure_s.items():
            if held and held.get(number, function) != function:
                continue
            begins_s = max(view.load_s(function, number), waits_s)
            if begins_s >= level_s or not view.may_load(function, number):
                continue
            victims = view.victims(function, number)
            if any(self.holds.stays(view, self.order, victim, function, number) for victim in victims):
                continue
            gain = later - sum(self._worth(view, victim, len(view.where(victim))) for victim in victims)
            if hosts:
                run_s = each_s(view, function, number, count)
                gain += spared_s(count, len(hosts), level_s - begins_s, run_s)
            else:
                gain += _MUST - begins_s
            if gain > best_gain:
                best, best_gain = number, gain
        if best is None and not hosts:
            self.holds.ask(view, function, pressure_s, now_s)
        return best

    def _run(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        """Sends what can begin at once, as it came or in fair turns, each where it is in the way of the least
        others. No batch takes what another device could begin as well."""
        sent = True
        while view.ready and sent:
            sent = False
            for *_, function in sorted([self.order.turn(view, function) for function in view.ready]):
                hosts = self.holds.left(view, self.order, function, open_hosts(view, function))
                if hosts:
                    number = least_needed(view, function, hosts)
                    share = -(-view.waiting_by_function[function] // len(hosts))
                    requests = together(view, function, number, share, now_s)
                    run_s = view.run_s(function, number, len(requests))
                    self.order.serve(view, function, run_s)
                    self._note(function)
                    sent = True
                    yield Send(requests, number)

    def _note(self, function: FunctionId) -> None:
        self.recent.pop(function, None)
        self.recent[function] = None
        if len(self.recent) > _RECENT:
            del self.recent[next(iter(self.recent))]

    def _worth(self, view: FleetView, function: FunctionId, copies: int) -> float:
        """Seconds of waiting that the last of so many copies spares within the horizon."""
        asked = view.rate_per_s(function) * self.horizon_s
        further = _FURTHER_IN_TURNS if self.order.overloaded else self.working.share
        return asked / (1 + asked) * self._load_s(view, function) * further ** (copies - 1)

    def _load_s(self, view: FleetView, function: FunctionId) -> float:
        return view.load_s(function, next(iter(view.devices)))
