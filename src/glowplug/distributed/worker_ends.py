"""Where a worker begins and ends, whatever it computes: how it joins its channel, and what it tells its
platform."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from glowplug.distributed.channels.base import Channel, Limits
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.registry import join
from glowplug.distributed.exchange import Exchange
from glowplug.distributed.faults import disturbed
from glowplug.distributed.phases import Phases
from glowplug.distributed.platform_line import PlatformLine, Reached, Response
from glowplug.distributed.run_orders import RunOrders
from glowplug.distributed.start import Place
from glowplug.distributed.timing import Timing, patiently

LAST_STALLS = 6
"""Whoever is done may have said so in a note that was lost."""
_TELL_EVERY_S = 0.2


def joined(orders: RunOrders, place: Place, deadline_s: float) -> tuple[Channel, Timing]:
    """The worker's end, and the clock of its waits; `deadline_s` is as time.monotonic tells it. Raises
    ChannelError."""
    end = patiently(lambda: join(orders.address, place.worker), deadline_s)
    channel = disturbed(end, orders.faults, place)
    return channel, Timing(orders.stall_s, channel.limits.slow_s, deadline_s)


def keeps(orders: RunOrders, limits: Limits, place: Place, *, checkpoints: bool) -> bool:
    """Where nothing is given again: for whoever takes over, and in a later epoch also since what an earlier
    one's workers were about to receive may be lost."""
    if orders.keep is not None:
        return orders.keep
    return (checkpoints or place.epoch > 0) and not limits.replays


def response(
    place: Place, phases: Phases, worked_s: float, meter: Meter, exchange: Exchange, checkpoint_bytes: int
) -> Response:
    return Response(
        place=place,
        phases=phases.times(),
        worked_s=worked_s,
        meter=meter,
        damaged=exchange.damaged,
        sent_again=exchange.sent_again,
        checkpoint_bytes=checkpoint_bytes,
        peak_bytes=_peak_bytes(),
        keeps=exchange.keep,
    )


def throttled(line: PlatformLine) -> Callable[[int], None]:
    """Tells how far the worker is, as often as somebody can look."""
    told_s = 0.0

    def reached(step: int) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if now_s - told_s >= _TELL_EVERY_S:
            told_s = now_s
            line.tell(Reached(step))

    return reached


def _peak_bytes() -> int:
    """The most memory that was resident. What getrusage tells begins with the parent's at the fork."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
