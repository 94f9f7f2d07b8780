"""How workers reach each other: one interface, a file for each service (`registry.py`)."""

from glowplug.distributed.channels.base import Address, Buffer, Channel, Limits, MessageKey, Room
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.registry import ROOMS, join, room

__all__ = ["ROOMS", "Address", "Buffer", "Channel", "Limits", "MessageKey", "Meter", "Room", "join", "room"]
