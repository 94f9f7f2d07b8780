"""`distributed`, part `sizes`: rows and bytes that `rows` sends, over several networks of one size."""

from __future__ import annotations

import statistics

from glowplug.bench.distributed.ground import ground_of
from glowplug.bench.distributed.options import Options, Tell
from glowplug.bench.distributed.rows import Row
from glowplug.bench.distributed.schemes import PUBLISHED_LAYERS
from glowplug.bench.result import Claim, claim, spread
from glowplug.distributed.published import published
from glowplug.policy.plans.chooser import CHANNELS
from glowplug.policy.plans.model import DELAYS
from glowplug.policy.plans.rows import by_rows

NEURONS, WORKERS = 1024, (8, 20)
MOST_ROWS, FEWER_BYTES = 115_000, 9.0


def run(options: Options, tell: Tell) -> tuple[list[Row], list[Claim], list[str]]:
    """A row for each size and channel: medians over seeds. Nothing is simulated: it is counted."""
    workers = tuple(many for many in WORKERS if many in options.workers)
    sent: dict[int, list[int]] = {many: [] for many in workers}
    nbytes: dict[tuple[int, str], list[int]] = {}
    for seed in range(options.seeds):
        problem = ground_of(options, NEURONS, seed, tell).problem(workers)
        for many in workers:
            made = by_rows(problem, problem.partitions[many])
            sent[many].append(made.rows_sent)
            for channel in ("queue", "object"):
                exchange = CHANNELS[channel].exchange(made, DELAYS["hop-100ms"])
                nbytes.setdefault((many, channel), []).append(exchange.nbytes)
    rows = [_row(options, many, channel, sent[many], found) for (many, channel), found in nbytes.items()]
    return rows, _claims(options, sent, nbytes), []


def _row(options: Options, workers: int, channel: str, sent: list[int], nbytes: list[int]) -> Row:
    theirs = published(NEURONS, workers, channel)
    return {
        "part": "sizes", "system": "ours", "plan": "rows", "channel": channel, "neurons": NEURONS,
        "layers": options.layers, "workers": workers, "seed": None, "seeds": options.seeds, "total_s": None,
        "usd": None, **spread("bytes_sent", nbytes), **spread("rows_sent", sent), "predicted_s": None,
        "predicted_usd": None, "delay_model": None, "equal": None, "simulated": False,
        "published_bytes": theirs.bytes_sent if theirs else None,
    }  # fmt: skip


def _claims(
    options: Options, sent: dict[int, list[int]], nbytes: dict[tuple[int, str], list[int]]
) -> list[Claim]:
    """Of whole networks alone: the published runs have 120 layers."""
    if options.layers != PUBLISHED_LAYERS:
        return []
    claims = [
        claim(f"N = {NEURONS}, P = {many}: rows sent", statistics.median(sent[many]), "at most", MOST_ROWS)
        for many in sent
        if many == 8
    ]
    for (many, channel), found in nbytes.items():
        theirs = published(NEURONS, many, channel)
        if theirs is not None and channel == "queue":
            fewer = theirs.bytes_sent / statistics.median(found)
            name = f"N = {NEURONS}, P = {many}: times fewer bytes than published, {channel}"
            claims.append(claim(name, fewer, "at least", FEWER_BYTES))
    return claims
