"""`calibration`: when a predictor says 30 %, is it 30 % of the times? Each model, and the choice among them.

A trace is played to the predictors. Every `every_s` seconds, and for each function that was called by then,
each says how likely a call is within the horizon, before it sees it. Rows have, by trace, predictor and
horizon: the Brier score and the logarithmic loss (means over all predictions, the first ones included, when
next to nothing is known), beside those of `constant`, which always says the mean; the calibration error (the
mean distance between what was said and what was, over ten parts of what was said); and these parts.

Nothing is simulated: calls are recorded or drawn, and nobody answers them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from glowplug.bench.calibration.plot import draw_reliability
from glowplug.bench.recorded_hour import hour_path, no_hour
from glowplug.bench.result import Claim, Result, claim, print_claims, print_rows
from glowplug.policy.predictors.batch import Batch
from glowplug.policy.predictors.choice import MODELS
from glowplug.policy.predictors.table import Predictors
from glowplug.sim.workloads.registry import make_trace
from glowplug.sim.workloads.trace import Floats, Trace

PREDICTORS = ("choice", *MODELS)
PARTS = 10
LEAST = 1e-6
"""Said probabilities are kept this far from 0 and 1, or one sure mistake would be the whole loss."""
COLUMNS = ("trace", "horizon_s", "predictor", "brier", "log_loss", "calibration_error", "weight")
RECORDED = {
    "hour": "azure2019:{path}",
    "hour, drawn in minutes": "azure2019:{path},spread=uniform",
    "mix": "mix:{path}",
    "mix, drawn in minutes": "mix:{path},spread=uniform",
    "mix, timers jittered": "mix:{path},jitter_s=20",
}
DRAWN = {
    "poisson": "poisson:functions=200,rate_per_min=100,minutes=240,s=0.9",
    "timers": "timers:functions=200,rate_per_min=40,minutes=240,jitter_s=20",
    "bursty": "bursty:functions=200,rate_per_min=100,minutes=240,burst_s=30,burst_share=0.02",
}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is the folder of the recorded hour; where the usual one is not there only drawn traces are
    played."""

    path: str = msgspec.field(default_factory=hour_path)
    horizons_s: tuple[float, ...] = (4.0, 60.0)
    every_s: float = 7.0
    repeats: int = 1
    seed: int = 0
    quick: bool = False


def run(options: Options, tell: Callable[[str], None] = lambda _: None) -> Result:
    """Plays each trace with `repeats` seeds. Raises InvalidTrace for a recorded hour that cannot be
    read, RuntimeError where there is none at a path that was given."""
    texts, missing = _texts(options)
    rows: list[dict[str, Any]] = []
    for name, text in texts.items():
        for seed in range(options.seed, options.seed + options.repeats):
            tell(f"{name}, seed {seed}")
            trace = make_trace(text, seed)
            found = calibration(trace, options.horizons_s, options.every_s)
            rows += [{"trace": name, "workload": text, "seed": seed, **row} for row in found]
    return Result(
        experiment="calibration",
        settings=msgspec.to_builtins(options),
        rows=rows,
        claims=_claims(rows),
        missing=missing,
    )


def report(result: Result, console: Console) -> None:
    print_rows(console, "calibration", result.rows, COLUMNS)
    print_claims(console, result)


def plot(result: Result, path: Path) -> None:
    """Reliability: observed over said. Raises ImportError where matplotlib is missing."""
    draw_reliability(result.rows, PREDICTORS, path)


def calibration(trace: Trace, horizons_s: tuple[float, ...], every_s: float) -> list[dict[str, Any]]:
    """A row for each horizon and predictor."""
    predictors = Predictors()
    batch = Batch(predictors)
    for number in range(trace.functions):
        # A function's row is then its number.
        batch.row(str(number))
    next_s = np.full(trace.functions, np.inf)
    following_s = _following(trace)
    scores = {(h, name): _Score() for h in horizons_s for name in (*PREDICTORS, "constant")}
    weights, looks = np.zeros(len(MODELS)), 0
    played = 0
    for now_s in np.arange(every_s, trace.span_s - max(horizons_s), every_s).tolist():
        until = int(np.searchsorted(trace.times_s, now_s, side="right"))
        for at in range(played, until):
            function = int(trace.function[at])
            predictors.observe(str(function), float(trace.times_s[at]))
            next_s[function] = following_s[at]
        played = until
        known = batch.known()
        weights += batch.weights(known).sum(axis=1)
        looks += len(known)
        for horizon_s in horizons_s:
            came = next_s[known] <= now_s + horizon_s
            said = [batch.chances(known, now_s, horizon_s), *batch.chances_by_model(known, now_s, horizon_s)]
            for name, probabilities in zip(PREDICTORS, said, strict=True):
                scores[horizon_s, name].add(probabilities, came)
    believed = {"choice": 1.0, **dict(zip(MODELS, (weights / max(looks, 1)).tolist(), strict=True))}
    for horizon_s in horizons_s:
        scores[horizon_s, "constant"] = scores[horizon_s, "choice"].constant()
    return [
        {"horizon_s": h, "predictor": name, "weight": believed.get(name), **score.row()}
        for (h, name), score in scores.items()
    ]


def _following(trace: Trace) -> Floats:
    """(requests,): when the function of each call is called next; infinite after its last."""
    order = np.argsort(trace.function, kind="stable")
    following = np.full(trace.requests, np.inf)
    same = trace.function[order][1:] == trace.function[order][:-1]
    following[order[:-1][same]] = trace.times_s[order[1:][same]]
    return following


class _Score:
    """Sums over predictions, also by parts of what was said: [0, 0.1), [0.1, 0.2), ..."""

    def __init__(self) -> None:
        self.squares = self.loss = 0.0
        self.count, self.said, self.came = np.zeros(PARTS), np.zeros(PARTS), np.zeros(PARTS)

    def add(self, said: Floats, came: NDArray[np.bool_]) -> None:
        self.squares += float(((said - came) ** 2).sum())
        safe = np.clip(said, LEAST, 1 - LEAST)
        self.loss -= float(np.log(np.where(came, safe, 1 - safe)).sum())
        part = np.minimum((said * PARTS).astype(np.int64), PARTS - 1)
        self.count += np.bincount(part, minlength=PARTS)
        self.said += np.bincount(part, said, PARTS)
        self.came += np.bincount(part, came, PARTS)

    def constant(self) -> _Score:
        """The same calls, foretold by one who knows their mean and nothing else."""
        count, came = int(self.count.sum()), int(self.came.sum())
        found = _Score()
        if count:
            found.add(np.full(count, came / count), np.arange(count) < came)
        return found

    def row(self) -> dict[str, Any]:
        total = max(1.0, float(self.count.sum()))
        sums = (self.count.tolist(), self.said.tolist(), self.came.tolist())
        return {
            "predictions": int(self.count.sum()),
            "came": float(self.came.sum() / total),
            "brier": self.squares / total,
            "log_loss": self.loss / total,
            "calibration_error": float(abs(self.said - self.came).sum() / total),
            "parts": [
                {"predictions": int(n), "said": said / n, "came": came / n}
                for n, said, came in zip(*sums, strict=True)
                if n
            ],
        }


def _texts(options: Options) -> tuple[dict[str, str], list[str]]:
    """(workloads by name, what is missing)."""
    if options.quick:
        return {"timers": "timers:functions=20,rate_per_min=10,minutes=20,jitter_s=5"}, []
    absent = no_hour(options.path, "path")
    if absent is not None:
        return DRAWN, [f"recorded traces: {absent}"]
    return {name: text.format(path=options.path) for name, text in RECORDED.items()} | DRAWN, []


def _claims(rows: list[dict[str, Any]]) -> list[Claim]:
    """The choice is calibrated, and no model alone is better by more than a tenth, on any trace."""
    found = []
    for trace in dict.fromkeys(row["trace"] for row in rows):
        own = [row for row in rows if row["trace"] == trace]
        best: dict[tuple[int, float], float] = {}
        for row in own:
            if row["predictor"] in MODELS:
                cell = (row["seed"], row["horizon_s"])
                best[cell] = min(row["log_loss"], best.get(cell, np.inf))
        choice = [row for row in own if row["predictor"] == "choice"]
        error = max(row["calibration_error"] for row in choice)
        ratio = max(row["log_loss"] / best[row["seed"], row["horizon_s"]] for row in choice)
        found.append(claim(f"{trace}: calibration error", error, "at most", 0.03))
        found.append(claim(f"{trace}: log loss, choice over best model", ratio, "at most", 1.1))
    return found
