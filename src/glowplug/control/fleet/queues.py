"""What waits for any device: one line over all functions, and how many of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glowplug.control.fleet.records import Fleet
from glowplug.core.ids import FunctionId

if TYPE_CHECKING:
    from glowplug.control.records import Request, Store


def join(fleet: Fleet, request: Request, *, first: bool = False) -> None:
    (fleet.waiting.add_first if first else fleet.waiting.add)(request.id, request.rank)
    count = fleet.waiting_by_function
    count[request.function] = count.get(request.function, 0) + 1
    if request.function not in fleet.ready and _could_run(fleet, request.function):
        fleet.ready[request.function] = None


def leave(fleet: Fleet, request: Request) -> None:
    fleet.waiting.remove(request.id, request.rank)
    count = fleet.waiting_by_function
    left = count[request.function] - 1
    if left:
        count[request.function] = left
    else:
        del count[request.function]
        fleet.ready.pop(request.function, None)


def pass_over(store: Store, request: Request) -> None:
    """A request has its turn on a device. The oldest of a class that was passed over often enough goes with
    the highest that waits, from now on: for its run, and for its load where it needs one."""
    waiting = store.fleet.waiting
    waiting.pass_over(request.id, request.rank)
    rank, highest = waiting.turn(), waiting.rank
    if rank == highest:
        return
    oldest = store.requests[next(iter(waiting.lanes[rank]))]
    for queue in (waiting, store.waiting, store.functions[oldest.function].queue):
        queue.lift(oldest.id, rank, highest)
    oldest.rank = highest


def look_again(fleet: Fleet, function: FunctionId) -> None:
    """A device that could run it may have been the last."""
    if function in fleet.ready and not _could_run(fleet, function):
        del fleet.ready[function]


def _could_run(fleet: Fleet, function: FunctionId) -> bool:
    """Whether its model lies on a device that is open."""
    is_open, devices = fleet.open, fleet.devices
    for number in fleet.where.get(function, ()):
        if number in is_open and function in devices[number].residents:
            return True
    return False
