"""The schemes over services that only count: their calls, under stated delays, in virtual time."""

from __future__ import annotations

from typing import Any

from glowplug.core.errors import InvalidName
from glowplug.distributed.channels.base import Room
from glowplug.distributed.channels.claim_check import ClaimCheckRoom
from glowplug.distributed.channels.metered.blobs import VirtualBlobs
from glowplug.distributed.channels.metered.cloud import Cloud
from glowplug.distributed.channels.metered.delays import Delays
from glowplug.distributed.channels.metered.direct import DirectRoom
from glowplug.distributed.channels.metered.messaging import VirtualMessagingService
from glowplug.distributed.channels.metered.virtual_time import VirtualTime
from glowplug.distributed.channels.object import ObjectRoom
from glowplug.distributed.channels.paper_object import PaperObjectRoom
from glowplug.distributed.channels.paper_queue import PaperQueueRoom
from glowplug.distributed.channels.queue import QueueRoom

__all__ = ["SCHEMES", "Cloud", "Delays", "VirtualTime", "metered_room"]

SCHEMES = ("queue", "object", "paper_queue", "paper_object", "direct")


def metered_room(scheme: str, cloud: Cloud, claims: bool = False, **options: Any) -> Room:
    """A room of that scheme, whose ends live in `cloud.time`. `direct` has no service, only the hop and the
    bandwidth; with `claims` what is too large for a message goes to the store. Raises InvalidName."""
    made = _room(scheme, cloud, options)
    return ClaimCheckRoom(made, lambda: VirtualBlobs(cloud), cloud.time) if claims else made


def _room(scheme: str, cloud: Cloud, options: dict[str, Any]) -> Room:
    match scheme:
        case "queue":
            return QueueRoom(VirtualMessagingService(cloud), cloud.time, **options)
        case "paper_queue":
            return PaperQueueRoom(VirtualMessagingService(cloud), cloud.time, **options)
        case "object":
            return ObjectRoom(lambda: VirtualBlobs(cloud), cloud.time, **options)
        case "paper_object":
            return PaperObjectRoom(lambda: VirtualBlobs(cloud), cloud.time, **options)
        case "direct":
            return DirectRoom(cloud, **options)
    raise InvalidName(f"there is no metered scheme {scheme!r}, but {', '.join(SCHEMES)}")
