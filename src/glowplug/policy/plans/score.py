"""What one way to run a workload is expected to take: seconds, dollars, calls, bytes and memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from glowplug.policy.plans.billing import Prices, Usage, function_gib_s
from glowplug.policy.plans.channels import Exchange
from glowplug.policy.plans.critical_path import timings
from glowplug.policy.plans.model import Delays, MachineModel
from glowplug.policy.plans.spread import Cut, Spread

MIB = 2**20


class Score(msgspec.Struct, frozen=True):
    """Predicted. `memory_mib` is what each worker is given, `memory_bytes` what the largest needs; `calls`
    and `nbytes` are those of the channel, `compute_s` the busiest worker's, `utilisation` the workers'
    share of the time between the last worker's start and the end."""

    plan: str
    channel: str
    workers: int
    memory_mib: int
    memory_bytes: int
    cut: Cut
    total_s: float
    usd: float
    compute_s: float
    calls: int
    nbytes: int
    rows_sent: int
    bill: dict[str, float]

    @property
    def name(self) -> str:
        return way_name(self.plan, self.workers, self.cut, self.channel)


def way_name(plan: str, workers: int, cut: Cut, channel: str = "") -> str:
    """In a table."""
    if workers == 1:
        return plan
    return " ".join(filter(None, (plan, str(workers), channel, "relayed" if cut.relayed else "")))


def needed_bytes(spread: Spread, machine: MachineModel) -> int:
    """What the largest worker needs, its interpreter included."""
    return spread.memory_bytes + machine.runtime_bytes


def scores(
    spread: Spread, channel: str, exchange: Exchange, memory_mib: Sequence[int],
    machine: MachineModel, delays: Delays, prices: Prices, broker: str | None = None,
) -> list[Score]:  # fmt: skip
    """One for each memory size. `broker` is the kind of server that the channel needs while the run takes; a
    worker that is alone needs no channel.

    One invocation more than workers: the coordinator's, as in the paper's formula; each worker reads its
    weights and its inputs from a store.
    """
    fixed = exchange.usage + Usage(invocations=spread.workers + 1, gets=2 * spread.workers)
    found = []
    for size, when in zip(memory_mib, timings(spread, exchange, machine, delays, memory_mib), strict=True):
        servers = {broker: when.total_s} if broker and spread.workers > 1 else {}
        running = Usage(function_gib_s=function_gib_s(when.runtime_s, size), server_s=servers)
        running += exchange.receive_usage * when.receive_units
        bill = {name: dollars for name, dollars in prices.bill(fixed + running).items() if dollars}
        found.append(
            Score(
                plan=spread.plan,
                channel=channel,
                workers=spread.workers,
                memory_mib=size,
                memory_bytes=needed_bytes(spread, machine),
                cut=spread.cut,
                total_s=when.total_s,
                usd=sum(bill.values()),
                compute_s=when.compute_s,
                calls=round(exchange.calls + when.receive_calls),
                nbytes=exchange.nbytes,
                rows_sent=spread.rows_sent,
                bill=bill,
            )
        )
    return found


def pareto(found: Iterable[Score]) -> list[Score]:
    """Those that no other beats in both seconds and dollars, fastest first."""
    front: list[Score] = []
    for each in sorted(found, key=lambda one: (one.total_s, one.usd)):
        if not front or each.usd < front[-1].usd:
            front.append(each)
    return front
