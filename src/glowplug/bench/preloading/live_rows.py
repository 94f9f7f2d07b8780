"""What a live run of pre-loading was like: the fields of its row, and what all of them promise."""

from __future__ import annotations

import statistics
from itertools import combinations
from typing import Any

from glowplug.bench.live.load import Outcome, count, latencies, quantile
from glowplug.bench.live.times import Measured
from glowplug.bench.live.twin import LiveRun
from glowplug.bench.preloading.lent import admissions
from glowplug.bench.preloading.twin import Simulated
from glowplug.bench.result import Claim, claim

POLICIES = ("fixed", "tyche", "ladder")
COLUMNS = (
    "system", "round", "requests", "parked_share", "loading_mean_s", "simulated_loading_mean_s", "mean_s",
    "warm_p99_s", "used", "wasted", "core_share", "admissions", "admission_p95_s", "lent", "lent_max_s",
    "peak_bytes", "over_budget",
)  # fmt: skip


def claims(found: list[dict[str, Any]]) -> list[Claim]:
    """What the live part promises, of the rows of all its runs."""
    live = {policy: _mean(found, policy, "loading_mean_s") for policy in POLICIES}
    again = {policy: _mean(found, policy, "simulated_loading_mean_s") for policy in POLICIES}
    ours = [row for row in found if row["preload"] != "none"]
    apart = [(a, b) for a, b in combinations(POLICIES, 2) if _are_apart(found, a, b)]
    return [
        claim("live: pairs of policies that the simulator tells apart", len(apart), "at least", 1),
        claim(
            "live: pairs of policies in the order that the simulator predicts, of those that it tells apart",
            sum((live[a] < live[b]) == (again[a] < again[b]) for a, b in apart),
            "at least", len(apart),
        ),
        *(
            claim(f"live and simulated: mean loading of {policy} apart", _apart(live[policy], again[policy]),
                  "at most", 0.25)
            for policy in POLICIES
        ),
        claim("live: samples over the budget", sum(row["over_budget"] for row in found), "at most", 0),
        claim("live: wrong answers", sum(row["wrong"] for row in found), "at most", 0),
        claim("live: requests lost", sum(row["failed"] for row in found), "at most", 0),
        claim(
            "live: p99 of warm requests, ladder / fixed",
            _mean(found, "ladder", "warm_p99_s") / _mean(found, "fixed", "warm_p99_s"), "at most", 1.1,
        ),
        claim("live: of one core for loading ahead", max(row["core_share"] for row in ours), "at most", 0.15),
        claim(
            "live: p95 until memory is back, s", max(row["admission_p95_s"] for row in ours), "at most", 0.05
        ),
        claim("live: until lent memory is back, s", max(row["lent_max_s"] for row in ours), "at most", 0.05),
    ]  # fmt: skip


def _mean(found: list[dict[str, Any]], policy: str, field: str) -> float:
    values: list[float] = [row[field] for row in found if row["system"] == policy]
    return statistics.mean(values)


def _are_apart(found: list[dict[str, Any]], one: str, other: str) -> bool:
    """Whether the simulator has them in the same order also with calls moved and loads varied a little, each
    time: else the order is chance there, and the machine's says nothing."""
    pairs = list(zip(_all_simulated(found, one), _all_simulated(found, other), strict=True))
    return all(first < second for first, second in pairs) or all(first > second for first, second in pairs)


def _all_simulated(found: list[dict[str, Any]], policy: str) -> list[float]:
    mine = [row for row in found if row["system"] == policy]
    return [s for row in mine for s in (row["simulated_loading_mean_s"], *row["simulated_varied_s"])]


def _apart(live: float, again: float) -> float:
    return abs(again / live - 1) if live else 0.0


def seen(outcomes: list[Outcome], names: list[str], alone: dict[str, Measured]) -> dict[str, Any]:
    """What did not find a parked worker waited for all that its answer took beyond its run."""
    good = [(each, name) for each, name in zip(outcomes, names, strict=True) if each.kind == "ok"]
    parked = [(each, name) for each, name in good if each.origin == "parked"]
    waits_s = [
        0.0 if each.origin == "parked" else max(0.0, each.took_s - alone[name].run_s) for each, name in good
    ]
    hot = max(set(names), key=names.count)
    seconds = latencies(outcomes)
    return {
        "requests": len(outcomes), "wrong": count(outcomes, "wrong"),
        "failed": len(outcomes) - len(good) - count(outcomes, "wrong"),
        "parked_share": len(parked) / max(1, len(good)),
        "mean_s": statistics.mean(seconds), "p99_s": quantile(seconds, 0.99),
        "loading_mean_s": statistics.mean(waits_s),
        "warm_p99_s": quantile(sorted(each.took_s for each, name in parked if name == hot), 0.99),
    }  # fmt: skip


def simulated(found: Simulated, means_s: list[float]) -> dict[str, Any]:
    """`means_s` are those of its waits with calls moved and loads varied a little."""
    return {
        "simulated_mean_s": statistics.mean(found.latencies_s),
        "simulated_loading_mean_s": statistics.mean(found.waits_s),
        "simulated_varied_s": means_s,
        "simulated_parked_share": found.parked / max(1, len(found.waits_s)),
        "simulated_failed": found.failed,
    }


def told(row: dict[str, Any]) -> str:
    """A run, as soon as it is over."""
    live_s, simulated_s = row["loading_mean_s"], row["simulated_loading_mean_s"]
    return f"{live_s:.4f} s of loading a request, simulated {simulated_s:.4f} s"


def lent(run: LiveRun) -> dict[str, Any]:
    """Seconds that requests waited for memory: all for which something was evicted, and those of them for
    which that was loaded ahead."""
    found = admissions(run)
    all_s, lent_s = sorted(a.wait_s for a in found), sorted(a.wait_s for a in found if a.lent)
    return {
        "admissions": len(all_s), "admission_p50_s": quantile(all_s, 0.5),
        "admission_p95_s": quantile(all_s, 0.95), "admission_max_s": max(all_s, default=0.0),
        "lent": len(lent_s), "lent_p50_s": quantile(lent_s, 0.5), "lent_max_s": max(lent_s, default=0.0),
    }  # fmt: skip
