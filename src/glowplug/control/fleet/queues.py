"""What waits for any device: one line over all functions, and how many of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glowplug.control.fleet.records import Fleet

if TYPE_CHECKING:
    from glowplug.control.records import Request


def join(fleet: Fleet, request: Request, *, first: bool = False) -> None:
    (fleet.waiting.add_first if first else fleet.waiting.add)(request.id, request.rank)
    count = fleet.waiting_by_function
    count[request.function] = count.get(request.function, 0) + 1
    if request.function in fleet.hosts:
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
