"""Every channel by its name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from glowplug.core.errors import InvalidName
from glowplug.distributed.channels.base import Address, Channel, Room

ROOMS = {
    "memory": "memory:MemoryRoom",
    "shared_memory": "shared_memory:SharedMemoryRoom",
}


def room(channel: str, **options: Any) -> Room:
    """A room that is not open yet. Raises InvalidName for a channel that is not there, TypeError for options
    that it does not have, ImportError without what it needs."""
    try:
        module, name = ROOMS[channel].split(":")
    except KeyError:
        raise InvalidName(f"there is no channel {channel!r}, but {', '.join(ROOMS)}") from None
    made: Room = getattr(import_module(f"glowplug.distributed.channels.{module}"), name)(**options)
    return made


def join(address: Address, worker: int) -> Channel:
    """The end of `worker`, in whatever process, of a run that is open."""
    return room(address.channel, **address.options).join(address.run, address.workers).end(worker)
