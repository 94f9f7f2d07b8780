"""`loading`: a model from its store to its first answer, by every strategy and by the libraries people use.

Everything but the peers runs in this process, whose thread pools and kernel caches are warm for each
model, as theirs are in their own. OpenMP spins as briefly as in the platform's processes, in both (decision
076). Systems alternate within each repeat. What comes from a store is checked for damage by every strategy,
what lies on this disk by none (decision 009). Stores on paper (`ThrottledSource`) have their bytes in this
process's memory: their bandwidth and latency are simulated, and everything else is real.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Container, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from glowplug.bench.known_names import check_names
from glowplug.bench.loading import claims as loading_claims
from glowplug.bench.loading.cells import (
    DISK_COLD,
    DISK_WARM,
    LATENCY_S,
    Bytes,
    Measured,
    Store,
    disk_bandwidth,
    fill_bandwidth,
    floor_s,
    measure,
    throttled,
    watch,
)  # fmt: skip
from glowplug.bench.loading.models import MODELS, Subject, make_subject
from glowplug.bench.loading.peers import peer_rows
from glowplug.bench.loading.scheduler import scenario
from glowplug.bench.loading.sharing import proportional_share
from glowplug.bench.models import examples_dir
from glowplug.bench.pictures.gantt import draw_gantt
from glowplug.bench.result import Result, print_claims, print_rows, spread
from glowplug.loader.arbiter import Priority
from glowplug.loader.arena import Arena
from glowplug.loader.stages import Timeline
from glowplug.loader.strategies import STRATEGIES
from glowplug.node.interpreters import RUNTIME_TUNING

PAPERS_STORE_BYTES_S = 1.25e9
COLUMNS = (
    "model", "source", "cache", "bandwidth", "system", "first_answer_s", "warm_forward_s", "floor_s",
    "utilisation_union", "utilisation_compute", "extra_bytes", "equal",
)  # fmt: skip
PAPER = {
    "cicada against pisel, first version": 0.6159,
    "of which mini, up to": 0.5341,
    "of which decoupled, up to": 0.2617,
    "cicada against pisel, revised version": 0.3479,
    "pipeline utilisation, times, up to": 2.52,
}
"""What the authors measured on their machines, for comparison (arXiv 2502.20959)."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`varied` are the models that are also run with one thread and with a batch; `shown` is drawn;
    `fronts` are loaded beside the first of `behind`, and beside all seven.
    """

    models: tuple[str, ...] = MODELS
    systems: tuple[str, ...] = tuple(STRATEGIES)
    disk_systems: tuple[str, ...] = ("pisel", "pisel+noinit", "cicada", "mapped", "streamed")
    swept: tuple[str, ...] = ("pisel+noinit", "cicada", "streamed")
    varied: tuple[str, ...] = ("resnet50", "vit_b16", "bert_base")
    shown: str = "vgg16"
    fronts: tuple[str, ...] = ("resnet50", "bert_base")
    behind: tuple[str, ...] = ("resnet152", "vit_b16", "vgg16", "gpt2", "regnet", "swin_t", "bert_base")
    bandwidths_bytes_s: tuple[float, ...] = (0.25e9, 4e9)
    batch: int = 8
    repeats: int = 5
    processes: int = 8
    peers: bool = True
    quick: bool = False

    def __post_init__(self) -> None:
        check_names(
            "loading", self, models=MODELS, systems=STRATEGIES, disk_systems=STRATEGIES, swept=STRATEGIES,
            varied=MODELS, shown=MODELS, fronts=MODELS, behind=MODELS,
        )  # fmt: skip

    def resolved(self) -> Options:
        if not self.quick:
            return self
        return msgspec.structs.replace(
            self, models=("mobilenetv2",), systems=("pisel", "cicada", "streamed"),
            disk_systems=("pisel", "mapped"), swept=(),
            varied=(), shown="mobilenetv2", fronts=("mobilenetv2",), behind=("mobilenetv2",),
            bandwidths_bytes_s=(), repeats=1, processes=2, peers=False,
        )  # fmt: skip


class _Run:
    """What the parts of one run share."""

    def __init__(self, options: Options, folder: Path, tell: Callable[[str], None]) -> None:
        self.options = options
        self.folder = folder
        self.tell = tell
        self.arena = Arena(3 * 10**9)
        self.rows: list[dict[str, Any]] = []
        self.timelines: list[Timeline] = []
        self.fill_bytes_s = fill_bandwidth()
        self.cores = len(os.sched_getaffinity(0))

    def cells(
        self, subject: Subject, store: Store, systems: Sequence[str], held: Bytes | None, *,
        threads: int, batch: int, watched: bool = False,
    ) -> None:  # fmt: skip
        """Measures the systems in turn, and adds a row for each."""
        able = [name for name in systems if name != "mapped" or store.source == "disk"]
        rate = disk_bandwidth(subject.pack) if store == DISK_COLD else store.bandwidth_bytes_s or float("inf")
        found: dict[str, list[Measured]] = {name: [] for name in able}
        for repeat in range(self.options.repeats):
            for name in able:
                self.tell(f"{subject.name}, {store.source} {store.cache}: {name}, repeat {repeat + 1}")
                found[name].append(measure(name, subject, store, held, self.arena))
        latency_s = LATENCY_S if store.bandwidth_bytes_s else 0.0
        # The machine's pace drifts: the floor has the least that a forward took beside these very loads.
        forward_s = min(
            statistics.median(one.second_forward_s for one in samples) for samples in found.values()
        )
        least_s = floor_s(subject, forward_s, rate, latency_s, self.fill_bytes_s, self.cores, threads)
        for name, samples in found.items():
            row = {
                "system": name, "model": subject.name, "source": store.source, "cache": store.cache,
                "bandwidth_bytes_s": rate if rate != float("inf") else None,
                "batch": batch, "threads": threads,
                **spread("first_answer_s", [one.first_answer_s for one in samples]),
                **spread("warm_forward_s", [one.second_forward_s for one in samples]),
                "floor_s": least_s, "weights_bytes": subject.nbytes,
                "equal": all(one.equal for one in samples),
                "simulated": "bandwidth and latency of the store" if store.bandwidth_bytes_s else None,
            }  # fmt: skip
            if watched:
                timeline, extra = watch(name, subject, store, held, self.arena)
                row |= {
                    "utilisation_union": timeline.utilisation_union,
                    "utilisation_compute": timeline.utilisation_compute, "extra_bytes": extra,
                }  # fmt: skip
                if subject.name == self.options.shown and store.bandwidth_bytes_s:
                    self.timelines.append(timeline)
            self.rows.append(row)


def run(options: Options, tell: Callable[[str], None] = lambda _: None) -> Result:
    """Measures; `tell` hears of progress. Raises RuntimeError when a system gives no answer at all."""
    spins = openmp_of_the_platform(sys.modules, os.environ)
    import torch

    options = options.resolved()
    missing: list[str] = []
    with tempfile.TemporaryDirectory(prefix="glowplug-loading-") as folder:
        found = _Run(options, Path(folder), tell)
        for name in options.models:
            _one_model(found, name)
        scheduler = _scheduler(found)
        sharing = _sharing(found)
        peers: list[dict[str, Any]] = []
        if options.peers:
            peers, missing = peer_rows(options.models, Path(folder), options.repeats, found.arena, tell)
        else:
            missing.append("peers: not part of this run")
    rows = [*found.rows, *scheduler, *sharing, *peers]
    settings = msgspec.to_builtins(options) | {
        "latency_s": LATENCY_S, "fill_bytes_s": found.fill_bytes_s, "threads": torch.get_num_threads(),
        "openmp_spins": spins,
        "papers_figures": PAPER, "timelines": msgspec.to_builtins(found.timelines),
    }  # fmt: skip
    claims = loading_claims.equality(rows) if options.quick else loading_claims.claims(rows)
    return Result(experiment="loading", settings=settings, rows=rows, claims=claims, missing=missing)


def openmp_of_the_platform(loaded: Container[str], environment: MutableMapping[str, str]) -> str | None:
    """Has OpenMP spin at its barriers as it does in the platform's processes, unless the environment says
    how; returns for how many rounds. OpenMP reads it when it is loaded, with torch: later it is left alone,
    and None is OpenMP's own choice.
    """
    name = "GOMP_SPINCOUNT"
    if "torch" not in loaded:
        environment.setdefault(name, RUNTIME_TUNING[name])
    return environment.get(name)


def report(result: Result, console: Console) -> None:
    """The rows, what each half of Cicada brings beside the paper's figures, and the claims."""
    plain = [row for row in result.rows if "scheduler" not in row and "processes" not in row]
    print_rows(console, "loading: median (min .. max)", plain, COLUMNS)
    others = [row for row in result.rows if "scheduler" in row]
    columns = ("model", "beside", "beside_class", "scheduler", "first_answer_s", "left_over_share")
    print_rows(console, "loads beside each other", others, columns)
    console.print("\n[bold]less time than pisel, mean over the models[/]")
    for line in loading_claims.ablation(result.rows):
        console.print(line)
    console.print(f"the paper's figures: {result.settings['papers_figures']}")
    print_claims(console, result)


def plot(result: Result, path: Path) -> None:
    """The Gantt chart of every strategy on one model, and beside it a Perfetto file for each
    (`.STRATEGY.json`).

    Raises ImportError where matplotlib is missing.
    """
    timelines = msgspec.convert(result.settings["timelines"], list[Timeline])
    title = f"{result.settings['shown']} from a store of {PAPERS_STORE_BYTES_S / 1e9} GB/s"
    draw_gantt(timelines, title, path)


def _one_model(found: _Run, name: str) -> None:
    import torch

    options, threads = found.options, torch.get_num_threads()
    found.tell(f"{name}: packed")
    subject = make_subject(name, 1, found.folder, options.repeats)
    held = Bytes(subject.pack)
    store = throttled(PAPERS_STORE_BYTES_S)
    found.cells(subject, store, options.systems, held, threads=threads, batch=1, watched=True)
    for disk in (DISK_COLD, DISK_WARM):
        found.cells(subject, disk, options.disk_systems, held, threads=threads, batch=1, watched=True)
    for bandwidth_bytes_s in options.bandwidths_bytes_s:
        found.cells(subject, throttled(bandwidth_bytes_s), options.swept, held, threads=threads, batch=1)
    if name not in options.varied:
        return
    for count, batch in ((1, 1), (threads, options.batch)):
        torch.set_num_threads(count)
        try:
            varied = make_subject(name, batch, found.folder, options.repeats)
            found.cells(varied, store, options.swept, held, threads=count, batch=batch)
            found.cells(varied, DISK_WARM, ("pisel+noinit", "mapped"), held, threads=count, batch=batch)
        finally:
            torch.set_num_threads(threads)


def _scheduler(found: _Run) -> list[dict[str, Any]]:
    """Each front beside one load of the next class, and beside all of the lowest."""
    options = found.options
    subjects = {name: make_subject(name, 1, found.folder, 1) for name in {*options.fronts, *options.behind}}
    held = {name: (subject, Bytes(subject.pack)) for name, subject in subjects.items()}
    others = [held[name] for name in options.behind]
    rows = []
    for front in options.fronts:
        for behind, priority in ((others[:1], Priority.BATCH), (others, Priority.BACKGROUND)):
            found.tell(f"{front} beside {len(behind)} of class {priority.name.lower()}")
            rows += scenario(
                held[front], behind, priority, PAPERS_STORE_BYTES_S, options.repeats, found.arena
            )
    return rows


def _sharing(found: _Run) -> list[dict[str, Any]]:
    name = "bert_large" if "bert_large" in found.options.models else found.options.models[0]
    found.tell(f"{found.options.processes} processes with {name}")
    subject = make_subject(name, 1, found.folder, 1)
    shared, private = proportional_share(subject.pack, name, examples_dir(), found.options.processes)
    return [{
        "system": "mapped", "model": name, "source": "disk", "cache": "warm",
        "processes": found.options.processes,
        "weights_bytes": subject.nbytes, "pss_bytes": shared, "private_bytes": private,
    }]  # fmt: skip
