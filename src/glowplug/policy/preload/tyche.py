"""tyche: a knapsack over the idle memory of all warm sandboxes, filled greedily, for the whole cluster.

Source: Tyche (IEEE TPDS 37(2), 2026). What its window asks for goes, in the order of value per byte, where it
fits and leaves the least room over; where sandboxes yield (`guests_displace`, not the paper's), else in place
of the idle model that spares least, if that is less. A sandbox that is invoked loses its guests, which are
placed again. It never creates or removes a sandbox.

Two parts of the paper are not here (decision 063): its load balancer over consistent-hash homes, for dispatch
and placement are every system's (an index of all nodes finds what a walk along the ring would); and GPU
memory, which scheduling fills, with the node's memory below it to fall back to (decision 042).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.policy.preload import Decision, Drop, Guest, PreloadView, SandboxView
from glowplug.policy.preload.windows import Windows


class Tyche(msgspec.Struct):
    foresees: bool = True
    ends_unused: bool = False
    windows: Windows = msgspec.field(default_factory=Windows)

    def introduced(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        return

    def arrived(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        self.windows.arrived(view, function, now_s)

    def next_s(self) -> float:
        return self.windows.next_s()

    def decide(self, view: PreloadView, now_s: float) -> Iterator[Decision]:
        self.windows.turn_over(now_s)
        yield from unload(view, self.windows)
        yield from fill(view, self.windows, self.windows.opened, None, now_s)

    def invoked(self, view: PreloadView, host: SandboxView, now_s: float) -> Iterable[InstanceId]:
        return host.guests

    def lost(self, node: NodeId) -> None:
        return

    def forget(self, function: FunctionId) -> None:
        self.windows.forget(function)


def unload(view: PreloadView, windows: Windows) -> Iterator[Decision]:
    """Of functions whose windows have closed guests go, and what was loaded outside of sandboxes if nobody
    used it. Used, it is a warm sandbox like any other. What still climbs goes when it is up."""
    for function in tuple(windows.closed):
        guests = (number for number in view.idle(function) if view.is_guest(number))
        for number in dict.fromkeys((*guests, *view.unused(function))):
            yield Drop(number)
        if not view.climbs_ahead(function):
            windows.closed.pop(function, None)


def fill(
    view: PreloadView,
    windows: Windows,
    functions: Iterable[FunctionId],
    node: NodeId | None,
    now_s: float,
) -> Iterator[Decision]:
    """Places those of the functions that are not loaded, in the sandboxes of one node or of all, greedily."""
    missing = [each for each in functions if view.may_load(each) and not view.ready(each)]
    if not missing:
        return
    rooms = [(box.room_bytes, box) for box in view.sandboxes(node) if box.is_idle]
    kept = _kept(view, windows, rooms, now_s)
    largest_bytes = max((room_bytes for room_bytes, _ in rooms), default=0)
    largest_bytes = max((largest_bytes, *(whole_bytes for _, whole_bytes, _ in kept)))
    sizes = {each: _Size(view, each) for each in missing}
    least = {each: sizes[each].least_bytes(rooms, largest_bytes) for each in missing}
    missing = [each for each in missing if least[each]]
    yielded: set[int] = set()
    missing.sort(key=lambda each: -windows.value(view, each, now_s) / least[each])
    for function in missing:
        size, namespace = sizes[function], view.namespace(function)
        fits = [
            (0.0, need_bytes, room_bytes - need_bytes, place)
            for place, (room_bytes, box) in enumerate(rooms)
            if room_bytes >= (need_bytes := size.at(box.node)) and _owned_in(view, box, namespace)
        ]
        if not fits and kept:
            spares = windows.spares(view, function, now_s)
            fits = [
                (theirs, need_bytes, whole_bytes - need_bytes, place)
                for theirs, whole_bytes, place in kept
                if whole_bytes >= (need_bytes := size.at(rooms[place][1].node))
                and theirs < spares
                and _owned_in(view, rooms[place][1], namespace)
            ]
        if not fits:
            continue
        _, need_bytes, left_bytes, place = min(fits)
        box = rooms[place][1]
        if left_bytes + need_bytes > rooms[place][0]:
            yielded.add(place)  # whether or not it is carried out
        rooms[place] = (left_bytes, box)
        yield Guest(function, box.node, box.id)
        kept = [each for each in _kept(view, windows, rooms, now_s) if each[2] not in yielded] if kept else []


class _Size:
    """What a function would take as a guest: less where its weights lie already."""

    __slots__ = ("_less_bytes", "_whole_bytes")

    def __init__(self, view: PreloadView, function: FunctionId) -> None:
        self._whole_bytes = max(1, view.guest_bytes(function))
        self._less_bytes = view.held_bytes(function)

    def least_bytes(self, rooms: Sequence[tuple[int, SandboxView]], largest_bytes: int) -> int:
        """In any of the places where it fits; 0 where it fits nowhere."""
        if not self._less_bytes:
            return self._whole_bytes if self._whole_bytes <= largest_bytes else 0
        needs = ((self.at(box.node), room_bytes) for room_bytes, box in rooms)
        return min((need_bytes for need_bytes, room_bytes in needs if need_bytes <= room_bytes), default=0)

    def at(self, node: NodeId) -> int:
        if not self._less_bytes:
            return self._whole_bytes
        return max(1, self._whole_bytes - self._less_bytes.get(node, 0))


def _kept(
    view: PreloadView, windows: Windows, rooms: Sequence[tuple[int, SandboxView]], now_s: float
) -> list[tuple[float, int, int]]:
    """Models that may have to go for guests: what each spares, the room there without it, and the place. By
    seconds of loading that it spares a second, for windows that have just begun are all worth about one load,
    however long they are. Further copies of a function spare nothing."""
    found = []
    for place, (room_bytes, box) in enumerate(rooms):
        yields_bytes = box.yields_bytes
        if yields_bytes and box.owner is not None:
            theirs = windows.spares(view, box.owner, now_s) if view.ready(box.owner) == 1 else 0.0
            found.append((theirs, room_bytes + yields_bytes, place))
    return found


def _owned_in(view: PreloadView, box: SandboxView, namespace: str) -> bool:
    return box.owner is None or view.namespace(box.owner) == namespace
