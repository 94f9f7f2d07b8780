"""What batches cost: real models on this machine's cores, by batch size."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

from glowplug.bench.kept_runs import Row
from glowplug.bench.result import Claim, spread
from glowplug.bench.scheduling.options import Options, Tell

PART = "batches"
_FORWARDS = 5
"""Of which the middle one counts, in each repeat."""


def run(options: Options, tell: Tell) -> tuple[list[Row], list[Claim], list[str]]:
    """A row for each model and size: some warm forwards, and how many runs of one the quickest takes, since
    whatever else this machine does only adds."""
    lacks = [name for name in ("torch", "safetensors") if find_spec(name) is None]
    if lacks:
        return [], [], [f"batch costs: {' and '.join(lacks)} missing (pip install 'glowplug[torch]')"]
    from glowplug.bench.loading.models import make_subject

    rows = []
    with tempfile.TemporaryDirectory(prefix="glowplug-batches-") as folder:
        for model in options.batch_models:
            times: dict[int, list[float]] = {size: [] for size in options.batch_sizes}
            for repeat in range(options.repeats):
                for size in options.batch_sizes:
                    tell(f"batches: {model}, {size}, repeat {repeat + 1}")
                    times[size].append(make_subject(model, size, Path(folder), _FORWARDS).forward_s)
            one_s = min(times[options.batch_sizes[0]])
            rows += [
                {
                    "part": PART, "system": "torch, on the cores of this machine", "model": model,
                    "batch": size, **spread("run_s", found), "runs_of_one": min(found) / one_s,
                    "gain": size * one_s / min(found), "simulated": None,
                }
                for size, found in times.items()
            ]  # fmt: skip
    return rows, [], []


def ratio(rows: list[Row]) -> dict[int, float]:
    """By size what a batch takes, in runs of one: that of the model which gains least by it, and never less
    than a smaller batch takes."""
    found: dict[int, float] = {}
    for row in rows:
        if row["part"] == PART and row["batch"] > 1:
            found[row["batch"]] = max(found.get(row["batch"], 1.0), row["runs_of_one"])
    least, rising = 1.0, {}
    for size, times in sorted(found.items()):
        least = rising[size] = max(least, times)
    return rising
