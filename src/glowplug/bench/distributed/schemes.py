"""`distributed`, part `schemes`: `rows` on queues and objects, ours beside the paper's re-made, in virtual
time.

The code of the channels runs over services that only count, under stated delays. `as published` is the
paper's system with a partition that sends as many rows as theirs did; `our rows` is theirs with our
partition. `usd_of_published_calls` is what the former's functions take here, with the calls and bytes that
were published.
"""

from __future__ import annotations

import msgspec

from glowplug.bench.distributed.ground import Ground, ground_of
from glowplug.bench.distributed.options import Options, Tell
from glowplug.bench.distributed.paper import paper_rows
from glowplug.bench.distributed.rows import Row, row
from glowplug.bench.result import Claim, claim
from glowplug.distributed.prices import price_table
from glowplug.distributed.published import PublishedRun, published
from glowplug.distributed.simulate import SimulatedRun, simulate
from glowplug.policy.plans.billing import Prices
from glowplug.policy.plans.chooser import CHANNELS, MEMORY_MIB, memory_sizes
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.model import DELAYS, Delays
from glowplug.policy.plans.rows import Rows
from glowplug.policy.plans.score import MIB, needed_bytes, scores

RATIO_OFF, PUTS_OFF, CHEAPER = 0.2, 0.05, 5.0
PUBLISHED_LAYERS = 120
AS_PUBLISHED, OUR_ROWS, OURS = "re-made, as published", "re-made, our rows", "ours"
MEMORY = {1024: 1000, 4096: 1500, 16384: 2000, 65536: 4000}
"""MB of the published runs' functions."""


def run(options: Options, tell: Tell) -> tuple[list[Row], list[Claim], list[str]]:
    rows: list[Row] = []
    for neurons in options.neurons:
        for workers in options.workers:
            rows += _cell(ground_of(options, neurons, 0, tell), workers, tell)
    claims = [*_puts_claims(rows), *_ratio_claims(rows), *_cheaper_claims(rows)]
    return rows, claims if options.layers == PUBLISHED_LAYERS else [], []


def _cell(ground: Ground, workers: int, tell: Tell) -> list[Row]:
    """All systems of one size, one after another under each delay model."""
    problems = {(OURS, channel): ground.problem((workers,)) for channel in ("queue",)}
    problems[OURS, "object"] = problems[OURS, "queue"]
    for system in (AS_PUBLISHED, OUR_ROWS):
        for channel in ("queue", "object"):
            problems[system, channel] = ground.paper_problem(channel, system == AS_PUBLISHED)
    found = []
    for delays, slowdown in _models(ground.options):
        for (system, channel), problem in problems.items():
            tell(
                f"N = {ground.neurons}, {workers} workers, {delays.name}, {slowdown:g}x: {system}, {channel}"
            )
            found.append(_simulated(ground, system, channel, problem, workers, delays, slowdown))
    return found


def _models(options: Options) -> list[tuple[Delays, float]]:
    """Every delay at the first slowdown, and the middle delay at the others."""
    delays = [DELAYS[name] for name in options.delays]
    middle = delays[len(delays) // 2]
    return [(each, options.slowdowns[0]) for each in delays] + [
        (middle, each) for each in options.slowdowns[1:]
    ]


def _simulated(
    ground: Ground, system: str, channel: str, problem: Problem, workers: int, delays: Delays, slowdown: float
) -> Row:
    machine = msgspec.structs.replace(problem.machine, slowdown=slowdown)
    problem = msgspec.structs.replace(problem, machine=machine)
    facts, prices = problem.partitions[workers], price_table().prices()
    predicted = None
    if system == OURS:
        scheme, scored = channel, []
        for way in Rows().spreads(problem, workers):
            exchange = CHANNELS[channel].exchange(way, delays)
            sizes = memory_sizes(needed_bytes(way, machine), MEMORY_MIB[-1] * MIB, machine.threads)
            scored += [(one, way) for one in scores(way, channel, exchange, sizes, machine, delays, prices)]
        predicted, spread = min(scored, key=lambda pair: pair[0].usd)
        memory_mib = predicted.memory_mib
    else:
        spread, scheme, memory_mib = paper_rows(problem, facts), f"paper_{channel}", MEMORY[ground.neurons]
    found = simulate(spread, scheme, machine, delays, memory_mib)
    made = row(
        ground, "schemes", system, "rows", channel, workers, delays, found, prices, spread=spread,
        predicted=predicted, memory_mib=memory_mib, slowdown=slowdown,
    )  # fmt: skip
    if system == OURS:
        made["relayed"] = spread.cut.relayed
    theirs = published(ground.neurons, workers, channel)
    return made | _beside(theirs, found, prices) if system == AS_PUBLISHED and theirs else made


def _beside(theirs: PublishedRun, found: SimulatedRun, prices: Prices) -> Row:
    """What a re-made run is judged by."""
    usage = msgspec.structs.replace(theirs.usage(), function_gib_s=found.usage.function_gib_s)
    return {
        "puts": found.meter.puts,
        "published_puts": theirs.s3_puts,
        "published_bytes": theirs.bytes_sent,
        "published_usd": theirs.total_cost_usd,
        "published_runtime_s": theirs.lambda_runtime_total_s,
        "usd_of_published_calls": prices.usd(usage),
    }


def _puts_claims(rows: list[Row]) -> list[Claim]:
    """Objects are put where workers have something for each other, so they tell how a partition was: that of
    the re-made system is fitted to rows at one size, and to no objects."""
    off = {
        (each["neurons"], each["workers"]): abs(each["puts"] / each["published_puts"] - 1)
        for each in rows
        if each.get("published_puts")
    }
    name = "re-made, N = {}, P = {}: objects put off the published"
    return [claim(name.format(*size), each, "at most", PUTS_OFF) for size, each in off.items()]


def _ratio_claims(rows: list[Row]) -> list[Claim]:
    """The paper's own finding, how many times dearer objects are than queues at N = 1024; under the delays
    that come nearest, since those of its runs are not known."""
    claims = []
    for workers in sorted({each["workers"] for each in rows}):
        theirs = {channel: published(1024, workers, channel) for channel in ("queue", "object")}
        if theirs["queue"] is None or theirs["object"] is None:
            continue
        target = theirs["object"].total_cost_usd / theirs["queue"].total_cost_usd
        ratios = [
            _usd(rows, cell, AS_PUBLISHED, "object") / _usd(rows, cell, AS_PUBLISHED, "queue")
            for cell in _cells(rows)
            if cell[:2] == (1024, workers)
        ]
        if ratios:
            off = min(abs(ratio / target - 1) for ratio in ratios)
            name = f"re-made, N = 1024, P = {workers}: object / queue off the published {target:.1f}"
            claims.append(claim(name, off, "at most", RATIO_OFF))
    return claims


def _cheaper_claims(rows: list[Row]) -> list[Claim]:
    """The dearest of ours against the cheapest of theirs over all delays: the better channel of each. Theirs
    is what was published, where the system that was re-made costs more than that."""
    least: dict[tuple[int, int], float] = {}
    for cell in _cells(rows):
        theirs = min(
            _usd(rows, cell, AS_PUBLISHED, channel, key)
            for channel in ("queue", "object")
            for key in ("usd", "published_usd")
        )
        ours = min(_usd(rows, cell, OURS, channel) for channel in ("queue", "object"))
        least[cell[:2]] = min(least.get(cell[:2], float("inf")), theirs / ours)
    return [
        claim(
            f"N = {neurons}, P = {workers}: theirs, re-made or published / ours in $, least over delays",
            value,
            "at least",
            CHEAPER,
        )
        for (neurons, workers), value in least.items()
    ]


def _cells(rows: list[Row]) -> list[tuple[int, int, str, float]]:
    keys = ((each["neurons"], each["workers"], each["delay_model"], each["slowdown"]) for each in rows)
    return list(dict.fromkeys(keys))


def _usd(
    rows: list[Row], cell: tuple[int, int, str, float], system: str, channel: str, key: str = "usd"
) -> float:
    """Infinite where no such run was published."""
    for each in rows:
        same = (each["neurons"], each["workers"], each["delay_model"], each["slowdown"]) == cell
        if same and (each["system"], each["channel"]) == (system, channel):
            return float(each.get(key, float("inf")))
    raise KeyError((cell, system, channel))
