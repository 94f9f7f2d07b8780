"""What has just become idle on a device, and may be evicted there and from its node's memory.

Much of it is at work again before the event is settled. So its worth is worked out when somebody asks what
may go, and else in the end.
"""

from __future__ import annotations

from glowplug.control import holdings
from glowplug.control.context import Context
from glowplug.control.fleet import places


def settle(c: Context) -> None:
    """To be called before an eviction policy is asked for anything."""
    unoffered, instances = c.unoffered, c.store.instances
    while unoffered:
        instance = instances[next(iter(unoffered))]
        del unoffered[instance.id]
        holdings.offer_worker(c, instance)
        device = places.device_of(c, instance)
        if device is not None:
            places.offer(c, device, instance.function)
