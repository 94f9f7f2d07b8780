"""Lines of devices: what is bound there and waits for its model or its turn."""

from __future__ import annotations

from collections.abc import Iterable

from glowplug.control import answers
from glowplug.control import lines as starved
from glowplug.control.context import Context
from glowplug.control.fleet import places
from glowplug.control.fleet.records import Batch, Device
from glowplug.control.records import Function, Request
from glowplug.core.ids import FunctionId, RequestId


def join(c: Context, device: Device, function: Function, requests: Iterable[RequestId], run_s: float) -> None:
    """Takes waiting requests out of the queue and puts them into the line, as one batch. What can begin is to
    begin then, and the device's indexes are to be kept (places.changed) if nothing did."""
    batch = Batch(function.id, dict.fromkeys(requests), run_s)
    for number in batch.requests:
        request = c.store.requests[number]
        answers.dequeue(c, request)
        request.state, request.device = "lined", device.id
    function.lined += len(batch.requests)
    c.store.fleet.lined += len(batch.requests)
    device.line.append(batch)
    device.line_s += run_s
    device.pinned[function.id] = device.pinned.get(function.id, 0) + 1
    places.offer(c, device, function.id)


def take(c: Context, device: Device, place: int) -> Batch:
    """Out of the line, to be bound to its instance at once: it is not offered for eviction in between."""
    batch = device.line[place]
    _left(c, batch.function, len(batch.requests))
    _remove(device, place)
    return batch


def withdraw(c: Context, request: Request) -> None:
    """Out of wherever it waits, without having had its turn."""
    if request.state == "lined":
        _drop(c, request)
    else:
        answers.dequeue(c, request)


def _drop(c: Context, request: Request) -> None:
    """A request that stands in a line is answered already, or gone."""
    assert request.device is not None
    device = c.store.fleet.devices[request.device]
    for place, batch in enumerate(device.line):
        if request.id in batch.requests:
            del batch.requests[request.id]
            _left(c, batch.function, 1)
            if not batch.requests:
                _remove(device, place)
                places.offer(c, device, batch.function)
            break
    request.device = None
    places.changed(c, device)


def recall(c: Context, device: Device, function: FunctionId, *, retried: bool) -> None:
    """The requests in the line for a function go back to the head of its queue. `retried` marks them as
    tried: one that comes back a second time is answered with an error."""
    for place in reversed([n for n, batch in enumerate(device.line) if batch.function == function]):
        batch = device.line[place]
        _remove(device, place)
        for number in reversed(batch.requests):
            request = c.store.requests[number]
            request.device = None
            if retried and request.retried:
                words = f"the model of {function} could not be loaded, twice"
                answers.reject(c, request, "unavailable", words, 1.0)
                continue
            had = request.retried
            answers.requeue(c, request)
            request.retried = had or retried
        _left(c, function, len(batch.requests))
    places.offer(c, device, function)
    places.changed(c, device)


def recall_all(c: Context, function: Function, *, retried: bool) -> None:
    for device in list(c.store.fleet.devices.values()):
        if function.id in device.pinned:
            recall(c, device, function.id, retried=retried)


def _left(c: Context, function: FunctionId, count: int) -> None:
    c.store.fleet.lined -= count
    record = c.store.functions[function]
    record.lined -= count
    if not (record.lined or record.queue):
        starved.leave(c, record)


def _remove(device: Device, place: int) -> None:
    batch = device.line.pop(place)
    device.line_s = device.line_s - batch.run_s if device.line else 0.0
    left = device.pinned[batch.function] - 1
    if left:
        device.pinned[batch.function] = left
    else:
        del device.pinned[batch.function]
