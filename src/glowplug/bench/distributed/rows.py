"""A row of `distributed`, whatever part it is of."""

from __future__ import annotations

from typing import Any

import msgspec

from glowplug.bench.distributed.ground import Ground
from glowplug.distributed.simulate import SimulatedRun
from glowplug.policy.plans.billing import Prices, Usage
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.score import Score
from glowplug.policy.plans.spread import Spread

Row = dict[str, Any]


def as_the_paper_bills(usage: Usage) -> Usage:
    """The paper's formula knows no deletes on the queue; ours make none."""
    return msgspec.structs.replace(usage, queue_deletes=0)


def row(
    ground: Ground, part: str, system: str, plan: str, channel: str, workers: int, delays: Delays,
    found: SimulatedRun, prices: Prices, *, spread: Spread, predicted: Score | None, memory_mib: int,
    slowdown: float = 1.0,
) -> Row:  # fmt: skip
    """Of a run in virtual time: no answer was computed, so `equal` is None."""
    bill = prices.bill(as_the_paper_bills(found.usage))
    return {
        "part": part,
        "system": system,
        "plan": plan,
        "channel": channel,
        "neurons": ground.neurons,
        "layers": ground.options.layers,
        "workers": workers,
        "seed": ground.seed,
        "total_s": found.total_s,
        "usd": sum(bill.values()),
        "bytes_sent": nbytes(found),
        "rows_sent": spread.rows_sent,
        "predicted_s": predicted.total_s if predicted else None,
        "predicted_usd": predicted.usd if predicted else None,
        "delay_model": delays.name,
        "equal": None,
        "simulated": True,
        "slowdown": slowdown,
        "memory_mib": memory_mib,
        "runtime_s": found.runtime_s,
        "utilisation": found.utilisation,
        "calls": calls(found),
        "predicted_calls": predicted.calls if predicted else None,
        "predicted_bytes": predicted.nbytes if predicted else None,
        **{f"usd_{name}": dollars for name, dollars in bill.items() if dollars},
    }


def calls(found: SimulatedRun) -> int:
    """To the channel."""
    meter = found.meter
    return meter.publishes + meter.queue_sends + meter.polls + meter.puts + meter.gets + meter.lists


def nbytes(found: SimulatedRun) -> int:
    """Into the channel, with all that it bills of a message."""
    return found.meter.publish_bytes + found.meter.queue_send_bytes + found.meter.put_bytes
