"""What `coldstart` must show, checked against its rows. A claim whose rows were not run is not made."""

from __future__ import annotations

from typing import Any

from glowplug.bench.answers import TOLERANCE
from glowplug.bench.result import Claim, claim

OVERHEAD_S = {"imported": 0.120, "staged": 0.060, "parked": 0.003}
LOCAL_ABOVE_IMPORT_S = 0.150
TIMES_NAIVE = {"imported": 8.0, "staged": 15.0, "parked": 60.0}
"""For the models with real weights."""
FORKSERVER_BEHIND = 1.10
FORKSERVER_AHEAD = 1.3
COLD_STAGED_S = {"resnet50": 0.210, "bert_base": 0.480}
PARKED_PRIVATE_BYTES = 32e6
LEAST_S = 1e-3
"""An overhead below this is noise, and nothing is divided by it."""

Row = dict[str, Any]


def claims(rows: list[Row]) -> list[Claim]:
    """Every claim that these rows can decide."""
    by_key = {(row["system"], row["model"], row["step"], row["cache"]): row for row in rows}
    found: list[Claim] = []
    for model in dict.fromkeys(row["model"] for row in rows):
        naive = by_key.get(("naive", model, "local", "warm"))
        fork = by_key.get(("forkserver", model, "imported", "warm"))
        ours = {step: by_key.get(("glowplug", model, step, "warm")) for step in ("local", *OVERHEAD_S)}
        found += _local(model, ours["local"], naive)
        for step in OVERHEAD_S:
            row = ours[step]
            if row is not None:
                found += _step(model, step, row, fork)
        cold = by_key.get(("glowplug", model, "staged", "cold"))
        if cold is not None and model in COLD_STAGED_S:
            found.append(
                claim(
                    f"{model} staged, weights not cached: latency_s",
                    cold["latency_s"],
                    "at most",
                    COLD_STAGED_S[model],
                )
            )
    return found + equality(rows)


def _local(model: str, row: Row | None, naive: Row | None) -> list[Claim]:
    """The import time of the libraries is what the naive start of the same run needed for it."""
    if row is None or naive is None:
        return []
    above_s = row["overhead_s"] - naive["phases"]["import"]
    return [claim(f"{model} local: overhead above the imports_s", above_s, "at most", LOCAL_ABOVE_IMPORT_S)]


def _step(model: str, step: str, row: Row, fork: Row | None) -> list[Claim]:
    found = [claim(f"{model} {step}: overhead_s", row["overhead_s"], "at most", OVERHEAD_S[step])]
    if fork is not None and step == "imported":
        behind = row["overhead_s"] / max(fork["overhead_s"], LEAST_S)
        found.append(
            claim(f"{model} imported: overhead / forkserver's", behind, "at most", FORKSERVER_BEHIND)
        )
    if fork is not None and step == "staged":
        ahead = fork["overhead_s"] / max(row["overhead_s"], LEAST_S)
        found.append(
            claim(f"{model} staged: forkserver's overhead / ours", ahead, "at least", FORKSERVER_AHEAD)
        )
    if row["real"] and row["ratio_to_naive"] is not None:
        found.append(
            claim(f"{model} {step}: times naive", row["ratio_to_naive"], "at least", TIMES_NAIVE[step])
        )
    if "private_bytes" in row:
        found.append(
            claim(f"{model} {step}: private_bytes", row["private_bytes"], "at most", PARKED_PRIVATE_BYTES)
        )
    return found


def equality(rows: list[Row]) -> list[Claim]:
    """The claims about answers alone."""
    ours = [row["difference"] for row in rows if row["system"] == "glowplug"]
    others = [row["difference"] for row in rows if row["system"] != "glowplug"]
    found = [claim("answers: difference from a plain forward", max(ours), "at most", 0.0)] if ours else []
    if others:
        found.append(
            claim("baselines' answers: difference from a plain forward", max(others), "at most", TOLERANCE)
        )
    return found
