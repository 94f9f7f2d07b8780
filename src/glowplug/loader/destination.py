"""Where the weights of a load go: memory of this process, a file's mapping, or room on a device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from glowplug.loader.alignment import lead_bytes
from glowplug.loader.arena import NO_ARENA, Arena
from glowplug.loader.contents import Contents
from glowplug.loader.devices.base import Device
from glowplug.loader.mapping_source import map_weights
from glowplug.loader.sinks import READ_BYTES, DeviceSink, HostSink, MappedDeviceSink, Sink
from glowplug.loader.sources import WeightSource
from glowplug.loader.strategies import Strategy

if TYPE_CHECKING:
    import torch

IN_FLIGHT_BYTES = 64 * 2**20
"""What one load may have under way, unless it is told otherwise."""


def reads_at_once(strategy: Strategy, source: WeightSource, in_flight_bytes: int) -> int:
    """How many keep the source busy, within `in_flight_bytes`: to a device one more is on its way. At least
    one.
    """
    return max(1, min(strategy.parallel or source.advice.parallel, in_flight_bytes // READ_BYTES - 1))


class Destination(NamedTuple):
    """A place of the weights' size, and the way there."""

    sink: Sink
    source: WeightSource
    """Whose reads fill the sink."""
    give_back: Callable[[], object] = lambda: None
    """Of room on a device; it stays reserved for as long as the process lives when the load ends well."""


def torch_place(device: Device, memory: Any) -> torch.device | None:
    """Where the tensors of a model on this device lie; None where that is this process's memory. `memory` is
    its weights'."""
    import torch

    if isinstance(memory, torch.Tensor):
        return memory.device
    return torch.device(device.name) if device.name.startswith("cuda") else None


def destination(
    source: WeightSource, contents: Contents, strategy: Strategy, device: Device, arena: Arena, parallel: int
) -> Destination:
    """Room for the contents' weights, as the strategy wants it, to which `parallel` reads go at once.

    Raises DeviceFull, what the device raises, and ValueError for a source that cannot be mapped; then nothing
    is held.
    """
    nbytes, on_host = contents.header.weights_nbytes, device.name == "cpu"
    if not nbytes:
        return Destination(HostSink(None), source)
    if strategy.fetch == "mapped":
        memory, populating = map_weights(source, contents.weights_offset, nbytes, private=on_host)
        if on_host:
            return Destination(HostSink(memory), populating)
        return _on_device(device, nbytes, populating, lambda room: MappedDeviceSink(device, room, memory))
    if on_host:
        lender = arena if strategy.recycled else NO_ARENA
        lead = lead_bytes(contents.header)
        return Destination(HostSink(lender.lend(lead + nbytes)[lead:]), source)
    return _on_device(device, nbytes, source, lambda room: DeviceSink(device, room, parallel + 1))


def _on_device(device: Device, nbytes: int, source: WeightSource, sink: Callable[[Any], Sink]) -> Destination:
    reservation = device.reserve(nbytes)
    try:
        return Destination(sink(device.allocate(reservation)), source, partial(device.release, reservation))
    except BaseException:
        device.release(reservation)
        raise
