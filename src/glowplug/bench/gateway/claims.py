"""What `gateway` must show, checked against its rows. A claim whose rows were not run is not made."""

from __future__ import annotations

from typing import Any

from glowplug.bench.gateway.asks import TOLERANCE
from glowplug.bench.result import Claim, claim

OURS, BATCHED = "glowplug", "glowplug-batched"
TIMES_BEST = {"echo": 1.5, "minilm": 1.0, "tensor": 3.0}
"""Requests a second over the best peer's, at 16 connections."""
TIMES_UNBATCHED = 1.5
TIMES_FROM_ZERO = 20.0
DECISION_S = 50e-6
MEMORY_BYTES_PER_1000 = 10e6
FEW, MANY = 16, 64
LUCKY = "ray-tuned"
ZERO_STEPS = ("imported", "staged")
"""Where a function of ours stands that nothing runs for."""

Row = dict[str, Any]


def claims(rows: list[Row]) -> list[Claim]:
    """Every claim that these rows can decide."""
    found: list[Claim] = []
    for workload, times in TIMES_BEST.items():
        found += _load(rows, workload, times)
    found += _batching(rows) + _zero(rows) + _control(rows)
    return found + answers(rows)


def answers(rows: list[Row]) -> list[Claim]:
    """The claims about right answers and about none being lost."""
    off = [row["difference"] for row in rows if "difference" in row]
    failed = [row["failed"] for row in rows if row.get("system") in (OURS, BATCHED) and "failed" in row]
    found = []
    if off:
        found.append(
            claim("answers, all systems: difference from the right one", max(off), "at most", TOLERANCE)
        )
    if failed:
        found.append(claim("our answers that failed or were lost", sum(failed), "at most", 0.0))
    return found


def _load(rows: list[Row], workload: str, times: float) -> list[Claim]:
    by_system = {
        row["system"]: row
        for row in rows
        if (row.get("part"), row.get("workload"), row.get("connections")) == ("load", workload, FEW)
    }
    peers = [row for row in by_system.values() if row["kind"] == "peer"]
    if OURS not in by_system or not peers:
        return []
    ours = by_system[OURS]
    best = max(peers, key=lambda row: row["rate"])
    found = [
        claim(
            f"{workload}: requests a second / {best['system']}'s",
            ours["rate"] / best["rate"],
            "at least",
            times,
        )
    ]
    if workload == "echo":
        quickest = min(peers, key=lambda row: row["p99_s"])
        found.append(
            claim(f"echo: p99 / {quickest['system']}'s", ours["p99_s"] / quickest["p99_s"], "at most", 1.0)
        )
    return found


def _batching(rows: list[Row]) -> list[Claim]:
    rate = {
        row["system"]: row["rate"]
        for row in rows
        if (row.get("part"), row.get("workload"), row.get("connections")) == ("load", "minilm", MANY)
    }
    if not {OURS, BATCHED} <= rate.keys():
        return []
    times = rate[BATCHED] / rate[OURS]
    return [claim(f"minilm at {MANY} connections: batched / unbatched", times, "at least", TIMES_UNBATCHED)]


def _zero(rows: list[Row]) -> list[Claim]:
    found = []
    zero = [row for row in rows if row.get("part") == "zero"]
    for function in dict.fromkeys(row["function"] for row in zero):
        of_function = [row for row in zero if row["function"] == function]
        ours_s = {row["standing"]: row["latency_s"] for row in of_function if row["system"] == OURS}
        for row in of_function:
            # It depends on luck whether Ray gives a replica one of the workers that wait.
            lucky = row["system"] == LUCKY
            theirs_s, which = (row["latency_s_min"], "best time") if lucky else (row["latency_s"], "time")
            for step in ZERO_STEPS:
                if row["system"] != OURS and step in ours_s:
                    name = f"{function} from zero: {row['system']}'s {which} / ours from {step}"
                    found.append(claim(name, theirs_s / ours_s[step], "at least", TIMES_FROM_ZERO))
    return found


def _control(rows: list[Row]) -> list[Claim]:
    found = []
    for row in rows:
        if row.get("part") == "control" and "standing" in row:
            name = f"a decision with {row['functions']} functions, {row['standing']}_s"
            found.append(claim(name, row["decision_s"], "at most", DECISION_S))
        elif row.get("part") == "control":
            memory_bytes = row["memory_bytes"] * 1000 / row["functions"]
            found.append(
                claim(
                    "control memory for 1,000 functions_bytes", memory_bytes, "at most", MEMORY_BYTES_PER_1000
                )
            )
    return found
