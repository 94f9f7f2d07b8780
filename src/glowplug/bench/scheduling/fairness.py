"""One function offers five times its share: what that does to the others."""

from __future__ import annotations

from statistics import fmean

from glowplug.bench.kept_runs import Row
from glowplug.bench.pairs import paired_ratio
from glowplug.bench.result import Claim, claim
from glowplug.bench.scheduling.cells import OURS, Cell, Measure
from glowplug.bench.scheduling.options import Options

PART = "fairness"
SYSTEMS = ("lalb-o3", "lalb-o3-overlap", "mqfq-sticky", OURS)
GREEDY = {"the hottest": 0, "one of the middle": 10}
FACTOR = 5.0
RISE_AT_MOST = 1.2


def run(options: Options, measure: Measure) -> tuple[list[Row], list[Claim], list[str]]:
    cells = [
        Cell(
            system=system, minutes=options.minutes, seed=seed, greedy=greedy, greedy_factor=factor,
            devices=options.devices, device_bytes=options.device_bytes,
        )
        for greedy in (GREEDY.values() if not options.quick else (0,))
        for system in (SYSTEMS if not options.quick else (OURS,))
        for seed in range(options.seeds)
        for factor in (1.0, FACTOR)
    ]  # fmt: skip
    rows = measure(PART, cells)
    claims = [
        claim(
            f"{words} offers {FACTOR:g} times its share: the others' p99, times what it was",
            line["p99_rise"], "at most", RISE_AT_MOST,
        )
        for words, greedy in GREEDY.items()
        for line in table(rows)
        if (line["greedy"], line["system"]) == (greedy, OURS)
    ]  # fmt: skip
    return rows, claims, []


def table(rows: list[Row]) -> list[Row]:
    """A line for each greedy function and system: the others' latencies with and without its greed."""
    groups: dict[tuple[int, str], dict[float, list[Row]]] = {}
    for row in rows:
        if row["part"] == PART:
            by_factor = groups.setdefault((row["greedy"], row["policy"]), {})
            by_factor.setdefault(row["greedy_factor"], []).append(row)
    lines = []
    for (greedy, system), by_factor in groups.items():
        before, after = (sorted(by_factor[each], key=lambda row: row["seed"]) for each in (1.0, FACTOR))
        rise = paired_ratio([row["others_p99_s"] for row in after], [row["others_p99_s"] for row in before])
        lines.append(
            {
                "greedy": greedy, "system": system,
                "load": fmean(row["offered_load"] for row in before),
                "load_then": fmean(row["offered_load"] for row in after),
                "others_mean_s": fmean(row["others_mean_s"] for row in before),
                "mean_then_s": fmean(row["others_mean_s"] for row in after),
                "others_p99_s": fmean(row["others_p99_s"] for row in before),
                "p99_then_s": fmean(row["others_p99_s"] for row in after),
                "p99_rise": rise.ratio,
            }
        )  # fmt: skip
    return lines
