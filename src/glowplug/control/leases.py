"""The gateway's side of leases: dispatching without asking the controller.

Pure, and used by the gateway live and by the simulator. The controller's side is lending.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

import msgspec

from glowplug.core.commands import Lease
from glowplug.core.events import LeaseReport
from glowplug.core.ids import FunctionId, GatewayId, InstanceId


class _Held(msgspec.Struct):
    function: FunctionId
    instance: InstanceId
    slots: int
    granted_s: float
    expires_s: float
    at_once: int
    patience_s: float
    moved_s: float
    in_flight: int = 0
    done: int = 0
    failed: int = 0
    busy_s: float = 0.0
    last_s: float = 0.0
    revoked: bool = False
    called_back: bool = False
    reported_in_flight: int = 0
    reported_stuck: bool = False


def _load(held: _Held) -> int:
    return held.in_flight


def _is_stuck(held: _Held, now_s: float) -> bool:
    """A request that is sent there now would wait behind requests that take far longer than usual."""
    return held.in_flight >= held.at_once and now_s - held.moved_s > held.patience_s


def _leaves_room(held: _Held) -> bool:
    """A request that is sent there would run at once: who called the lease back may have one."""
    return held.called_back and held.in_flight < held.at_once


class LeaseTable:
    """What one gateway may dispatch to by itself.

    `take` and `done` bracket each request and are O(1). What was done is told in batches, by `reports`;
    a lease that is revoked or expired is given back there, once nothing runs under it.
    """

    def __init__(self, gateway: GatewayId) -> None:
        self._gateway = gateway
        self._held: dict[InstanceId, _Held] = {}
        self._free: dict[FunctionId, dict[InstanceId, _Held]] = {}
        self._news: dict[InstanceId, None] = {}
        self._busy: dict[InstanceId, None] = {}
        self._expiries: list[tuple[float, InstanceId]] = []
        self._in_flight = 0
        self.to_tell = False
        """`take` found a lease stuck: before the controller is asked it is to be told, by `reports`."""

    def grant(self, lease: Lease, now_s: float) -> None:
        """A new lease, or a longer life for one that is held."""
        held = self._held.get(lease.instance)
        if held is None:
            held = self._held[lease.instance] = _Held(
                lease.function, lease.instance, lease.slots, now_s, lease.expires_s,
                lease.at_once, lease.patience_s, now_s, last_s=now_s,
            )  # fmt: skip
        held.granted_s, held.expires_s, held.slots = now_s, lease.expires_s, lease.slots
        held.revoked = held.called_back = False
        held.at_once, held.patience_s = lease.at_once, lease.patience_s
        heappush(self._expiries, (lease.expires_s, lease.instance))
        self._index(held)

    def revoke(self, instance: InstanceId) -> bool:
        """No more requests go there. True when a report is due at once: there is room for others', or it is
        over."""
        held = self._held.get(instance)
        if held is None:
            return False
        held.revoked = held.called_back = True
        self._news[instance] = None
        self._index(held)
        return _leaves_room(held)

    def take(self, function: FunctionId, now_s: float) -> InstanceId | None:
        """Takes a slot of the least busy instance that has one. None if there is none: then ask the
        controller. A stuck instance counts as full: a request that waits with the controller instead can
        still go to another instance, be overtaken, or leave."""
        if self._expiries and self._expiries[0][0] <= now_s:
            self._expire(now_s)
        free = self._free.get(function)
        if not free:
            return None
        held = next(iter(free.values())) if len(free) == 1 else min(free.values(), key=_load)
        if _is_stuck(held, now_s):
            moving = [other for other in free.values() if not _is_stuck(other, now_s)]
            if not moving:
                self._tell_stuck(free.values())
                return None
            held = min(moving, key=_load)
        if not held.in_flight:
            held.moved_s = now_s
        held.in_flight += 1
        self._in_flight += 1
        self._busy[held.instance] = None
        self._news[held.instance] = None
        if held.in_flight >= held.slots:
            self._index(held)
        return held.instance

    def likely(self, function: FunctionId) -> InstanceId | None:
        """Where `take` would most likely send a request now. It takes no slot and promises nothing."""
        free = self._free.get(function)
        return min(free.values(), key=_load).instance if free else None

    def _tell_stuck(self, stuck: Iterable[_Held]) -> None:
        for held in stuck:
            if not held.reported_stuck:
                self._news[held.instance] = None
                self.to_tell = True

    def done(self, instance: InstanceId, ok: bool, took_s: float, now_s: float) -> bool:
        """A taken slot is free again. True when that is to be told at once: the lease was called back and
        there is room for others', or it is over."""
        held = self._held.get(instance)
        if held is None or not held.in_flight:
            return False
        was_full = held.in_flight >= held.slots
        held.in_flight -= 1
        self._in_flight -= 1
        held.done += ok
        held.failed += not ok
        held.busy_s += took_s
        held.last_s = held.moved_s = now_s
        self._news[instance] = None
        if not held.in_flight:
            del self._busy[instance]
        if was_full:
            self._index(held)
        return held.revoked and (held.in_flight == 0 or _leaves_room(held))

    def lost(self, instance: InstanceId) -> None:
        """The instance is gone; the controller hears of it from the engine, not from here."""
        held = self._held.pop(instance, None)
        if held is not None:
            self._in_flight -= held.in_flight
            self._news.pop(instance, None)
            self._busy.pop(instance, None)
            held.revoked = True
            self._index(held)

    def reports(self, now_s: float) -> list[LeaseReport]:
        """What happened since the last call, and the leases that are over. The cost is that of the news.

        Meant to be called a few times a second, and at once when `revoke` or `done` says so.
        """
        self._expire(now_s)
        self.to_tell = False
        for instance in self._busy:
            held = self._held[instance]
            if held.revoked or held.expires_s - now_s < (held.expires_s - held.granted_s) / 2:
                self._news[instance] = None
        found = [report for number in list(self._news) if (report := self._report(self._held[number], now_s))]
        self._news.clear()
        return found

    def _expire(self, now_s: float) -> None:
        """Gives up the leases whose time is over; a renewed one has a later entry."""
        while self._expiries and self._expiries[0][0] <= now_s:
            _, instance = heappop(self._expiries)
            held = self._held.get(instance)
            if held is not None and held.expires_s <= now_s and not held.revoked:
                held.revoked = True
                self._news[instance] = None
                self._index(held)

    def _report(self, held: _Held, now_s: float) -> LeaseReport | None:
        final = held.revoked and held.in_flight == 0
        quiet = not (held.done or held.failed or final) and held.in_flight == held.reported_in_flight == 0
        if quiet:
            return None
        report = LeaseReport(
            gateway=self._gateway,
            instance=held.instance,
            done=held.done,
            failed=held.failed,
            busy_s=held.busy_s,
            in_flight=held.in_flight,
            last_s=held.last_s,
            final=final,
            stuck=_is_stuck(held, now_s),
            called_back=held.called_back,
        )
        held.done = held.failed = 0
        held.busy_s = 0.0
        held.reported_in_flight = held.in_flight
        held.reported_stuck = report.stuck
        if final:
            del self._held[held.instance]
        return report

    def in_flight(self) -> int:
        """Requests that run under leases now."""
        return self._in_flight

    def held(self) -> int:
        """Leases that are held, revoked ones included."""
        return len(self._held)

    def _index(self, held: _Held) -> None:
        """Makes the lease visible to `take`, or hides it."""
        if not held.revoked and held.in_flight < held.slots:
            self._free.setdefault(held.function, {})[held.instance] = held
            return
        free = self._free.get(held.function)
        if free is not None:
            free.pop(held.instance, None)
            if not free:
                del self._free[held.function]
