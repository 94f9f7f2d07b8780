"""`distributed`, part `pipeline`: how near one comes to its ceiling m / (m + P - 1), in virtual time."""

from __future__ import annotations

from glowplug.bench.distributed.ground import ground_of
from glowplug.bench.distributed.options import Options, Tell
from glowplug.bench.distributed.rows import Row, row
from glowplug.bench.result import Claim, claim
from glowplug.distributed.prices import price_table
from glowplug.distributed.simulate import simulate
from glowplug.policy.plans.chooser import CHANNELS
from glowplug.policy.plans.model import DELAYS, MIB_PER_VCPU
from glowplug.policy.plans.pipeline import ceiling, staged
from glowplug.policy.plans.score import scores

WORKERS, MICRO_BATCHES = 8, 32
NEAR = 0.95
SHORTEST = min(DELAYS, key=lambda name: DELAYS[name].hop_s)


def run(options: Options, tell: Tell) -> tuple[list[Row], list[Claim], list[str]]:
    """A row for each size, channel and delay, the shortest hop among them. The claim is for the largest
    network and the best of its rows: a longer hop is longer until the last worker has something to do."""
    rows = []
    prices = price_table().prices()
    for neurons in options.pipeline_neurons:
        here = ground_of(options, neurons, 0, tell)
        problem = here.problem(())
        made = staged(problem, WORKERS, MICRO_BATCHES)
        for delays in (DELAYS[name] for name in dict.fromkeys((SHORTEST, *options.delays))):
            for channel in ("queue", "object"):
                tell(f"N = {neurons}: a pipeline on {channel}, {delays.name}")
                found = simulate(made, channel, problem.machine, delays, MIB_PER_VCPU)
                exchange = CHANNELS[channel].exchange(made, delays)
                (predicted,) = scores(
                    made, channel, exchange, [MIB_PER_VCPU], problem.machine, delays, prices
                )
                one = row(
                    here, "pipeline", "ours", "pipeline", channel, WORKERS, delays, found, prices,
                    spread=made, predicted=predicted, memory_mib=MIB_PER_VCPU,
                )  # fmt: skip
                rows.append(one | {"of_ceiling": found.utilisation / ceiling(WORKERS, MICRO_BATCHES)})
    largest = max(options.pipeline_neurons)
    best = max(each["of_ceiling"] for each in rows if each["neurons"] == largest)
    name = f"N = {largest}: a pipeline of {WORKERS} with {MICRO_BATCHES} micro-batches, share of its ceiling"
    return rows, [] if options.quick else [claim(name, best, "at least", NEAR)], []
