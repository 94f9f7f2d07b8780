"""A run beside what was predicted of it, and which of the numbers can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from glowplug.core.units import show_bytes
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.metering import billed
from glowplug.policy.plans.billing import Prices
from glowplug.policy.plans.score import MIB, Score

if TYPE_CHECKING:
    from glowplug.distributed.run_place import Took

_PUSHED = ("nats", "shared_memory")
"""Channels that bring messages unasked: how many calls there are does not depend on delays. Their bytes cost
nothing, and are not as few as can be, as is predicted."""


class Beside(msgspec.Struct, frozen=True):
    """`off` is by what share the predicted is more than the metered; None where nothing was metered."""

    predicted: float
    metered: float
    off: float | None
    comparable: bool


class Comparison(msgspec.Struct, frozen=True):
    """`calls` and `nbytes` are the channel's, `memory_mib` what each worker was predicted to be given, `why`
    what keeps numbers from being comparable."""

    plan: str
    channel: str
    workers: int
    memory_mib: int
    delays: str
    calls: Beside
    nbytes: Beside
    seconds: Beside
    usd: Beside
    why: tuple[str, ...]


def compare(
    score: Score, run: Took, delays: str, prices: Prices, broker: str, *, on_cloud: bool
) -> Comparison:
    """`on_cloud` is where the stated delays are meant to be those of the run."""
    pushed = score.channel in _PUSHED and score.workers > 1
    same_calls = on_cloud or pushed or score.workers == 1
    has_checkpoints = any(each.checkpoint_bytes for each in run.workers)
    disturbed = bool(run.restarts) or run.epochs > 1 or (has_checkpoints and score.channel == "object")
    why = []
    if not on_cloud:
        there = f"functions of {score.memory_mib} MiB and delays as stated ({delays})"
        why.append(f"seconds and dollars are predicted for {there}; this ran elsewhere")
    if not same_calls:
        why.append("how often receivers ask depends on delays, so calls do")
    if pushed:
        why.append(f"over {score.channel} bytes cost nothing, and are not encoded as is predicted")
    if disturbed:
        why.append("nothing is predicted of what was lost and begun again, nor of checkpoints")
    held = max((each.peak_bytes for each in run.workers), default=0)
    if held > score.memory_mib * MIB:
        priced = f"the {score.memory_mib} MiB that it is priced with"
        why.append(f"a worker held {show_bytes(held)}, more than {priced}")
    calls, nbytes = _through(score.channel, run.meter, run.platform_meter)
    has_broker = score.channel == "nats" and score.workers > 1
    usd = prices.usd(billed(run, broker if has_broker else None))
    return Comparison(
        plan=score.plan,
        channel=score.channel,
        workers=score.workers,
        memory_mib=score.memory_mib,
        delays=delays,
        calls=_beside(score.calls, calls, same_calls and not disturbed),
        nbytes=_beside(score.nbytes, nbytes, not pushed and not disturbed),
        seconds=_beside(score.total_s, run.seconds, on_cloud and not disturbed),
        usd=_beside(score.usd, usd, on_cloud and not disturbed),
        why=tuple(why),
    )


def _beside(predicted: float, metered: float, comparable: bool) -> Beside:
    return Beside(predicted, metered, predicted / metered - 1 if metered else None, comparable)


def _through(channel: str, meter: Meter, platform: Meter) -> tuple[int, int]:
    """Calls, and bytes sent with all that is billed of them. A platform's own are none of the channel's."""
    if channel == "shared_memory":
        return meter.messages_sent, meter.message_bytes_sent
    if channel == "object":
        calls = [each.puts + each.gets + each.lists for each in (meter, platform)]
        return calls[0] - calls[1], meter.put_bytes - platform.put_bytes
    calls_made = meter.publishes + meter.queue_sends + meter.polls
    return calls_made, meter.publish_bytes + meter.queue_send_bytes
