"""`card`: a graphics card as a device: contexts, copies, loads by every strategy, cold answers.

Loads and copies run in this process, whose context and kernels are warm; every load ends with the answer in
host memory. The floor of a load is its bytes at the rate of pinned copies, and one warm forward. Served
functions are asked over HTTP from each step of the ladder, beside a fresh Python that imports, builds, loads
and answers (`naive`); with a context process ready, and from `staged` without one too. Weights are seeded and
lie in the page cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from glowplug.bench.card import contexts
from glowplug.bench.card import loads as loads_part
from glowplug.bench.card import served as served_part
from glowplug.bench.known_names import check_names
from glowplug.bench.loading.models import MODELS
from glowplug.bench.result import Claim, Result, claim, print_claims, print_rows
from glowplug.loader.strategies import STRATEGIES

COLUMNS = {
    "contexts": ("what", "opened_s", "context_bytes", "host_bytes"),
    "copies": ("source", "nbytes", "copied_s", "bandwidth"),
    "loads": ("model", "system", "first_answer_s", "floor_s", "times_floor", "equal"),
    "served": ("model", "system", "step", "latency_s", "times_naive", "equal"),
}
BASELINES = tuple(loads_part.BASELINES)
OURS = ("mapped", "streamed")
"""The other systems are published strategies on our pipeline."""

PARTS = ("contexts", "loads", "served")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`device` is `cuda:0`, or `cpu` to see that the experiment runs: then there is no card's context and
    nothing is served. `served` are among `models`."""

    parts: tuple[str, ...] = PARTS
    device: str = "cuda:0"
    models: tuple[str, ...] = ("resnet50", "bert_base", "vgg16", "bert_large")
    served: tuple[str, ...] = ("resnet50", "bert_base", "vgg16")
    systems: tuple[str, ...] = ("pisel+noinit", "cicada", "mapped", "streamed")
    copied_bytes: int = 512 * 2**20
    repeats: int = 5
    quick: bool = False

    def __post_init__(self) -> None:
        check_names("card", self, parts=PARTS, models=MODELS, served=MODELS, systems=STRATEGIES)

    def resolved(self) -> Options:
        if not self.quick:
            return self
        return msgspec.structs.replace(
            self, models=("minilm",), served=("minilm",), copied_bytes=2**20, repeats=1
        )


def run(options: Options, tell: Callable[[str], None] = lambda _: None) -> Result:
    """Measures; `tell` hears of progress. Raises RuntimeError where there is no such card."""
    options = options.resolved()
    has_card = options.device.startswith("cuda")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="glowplug-card-") as name:
        folder = Path(name)
        if has_card and "contexts" in options.parts:
            tell("contexts")
            rows += contexts.rows(options.device, options.repeats)
        if "loads" in options.parts:
            tell("copies")
            copies = loads_part.copies(options.device, options.copied_bytes, options.repeats)
            rows += copies
            bandwidth = max(row["bandwidth"] for row in copies)
            for model in options.models:
                tell(f"loads: {model}")
                rows += loads_part.rows(
                    model, options.device, options.systems, bandwidth, options.repeats, folder
                )
        if has_card and "served" in options.parts:
            rows += served_part.rows(options.served, options.device, options.repeats, folder, tell)
    missing = [] if has_card else ["contexts and served functions: they need a graphics card"]
    return Result("card", msgspec.to_builtins(options), rows, claims(rows), missing)


def claims(rows: list[dict[str, Any]]) -> list[Claim]:
    """Every answer is right; a load by our strategies beats the usual ways; a parked model answers at once; a
    context that is ready is worth its bytes."""
    found = [claim("wrong answers", sum(not row.get("equal", True) for row in rows), "at most", 0)]
    loads = [row for row in rows if row["part"] == "loads"]
    for model in dict.fromkeys(row["model"] for row in loads):
        mine = {row["system"]: row["first_answer_s"] for row in loads if row["model"] == model}
        usual = min(mine[name] for name in BASELINES)
        ours = [mine[name] for name in OURS if name in mine]
        if ours:
            times = usual / min(ours)
            found.append(claim(f"{model}: the usual ways over our loader", times, "at least", 1.0))
    staged = {
        (row["model"], row["step"]): row["latency_s"]
        for row in rows
        if row["part"] == "served" and row["step"] in ("staged", served_part.ALONE)
    }
    for model in dict.fromkeys(model for model, step in staged if step == served_part.ALONE):
        over = staged[model, served_part.ALONE] / staged[model, "staged"]
        found.append(claim(f"{model}, staged: without a ready context over with one", over, "at least", 2.0))
    for row in rows:
        if row["part"] == "served" and row["system"] == "glowplug" and row["step"] in ("parked", "staged"):
            least = 20.0 if row["step"] == "parked" else 5.0
            found.append(
                claim(
                    f"{row['model']}, {row['step']}: naive over ours", row["times_naive"], "at least", least
                )
            )
    return found


def report(result: Result, console: Console) -> None:
    """A table of each part, and the claims."""
    for part, columns in COLUMNS.items():
        rows = [row for row in result.rows if row["part"] == part]
        if rows:
            print_rows(console, f"card: {part}", rows, columns)
    print_claims(console, result)


def plot(result: Result, path: Path) -> None:
    """Bars of the loads, a panel a model. Raises ImportError where matplotlib is missing."""
    from matplotlib.figure import Figure

    loads = [row for row in result.rows if row["part"] == "loads"]
    models = list(dict.fromkeys(row["model"] for row in loads))
    figure = Figure(figsize=(3.2 * len(models), 3.2), layout="constrained")
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for model, panel in zip(models, panels, strict=True):
        mine = [row for row in loads if row["model"] == model]
        panel.barh([row["system"] for row in mine], [1e3 * row["first_answer_s"] for row in mine])
        panel.axvline(1e3 * mine[0]["floor_s"], color="black", linestyle=":")
        panel.set(title=model, xlabel="ms to the first answer", xscale="log")
    figure.savefig(path)
