"""`glowplug distributed run`: one inference over worker processes of this machine."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from glowplug.cli.distributed_models import network_of
from glowplug.cli.functions import Json
from glowplug.cli.output import console, errors, print_json
from glowplug.core.errors import InvalidArguments
from glowplug.core.units import parse_bytes, parse_seconds, show_bytes, show_seconds

if TYPE_CHECKING:
    from glowplug.distributed.assignment import Assignment
    from glowplug.distributed.network import Network
    from glowplug.distributed.runner import Run

Plan = Literal["serial", "replicas", "pipeline", "rows", "hybrid"]
_PHASES = ("load", "compute", "wait", "send", "encode", "decode", "gather")


def run(
    model: str,
    *,
    workers: int = 4,
    plan: Plan = "rows",
    channel: str = "shared-memory",
    samples: int = 1000,
    replicas: int = 2,
    micro_batches: int = 0,
    method: str = "layered",
    memory: str = "",
    deadline: str = "10m",
    checkpoint_layers: int = 0,
    collect: Literal["activations", "categories"] = "activations",
    cache: Path | None = None,
    option: Annotated[tuple[str, ...], Parameter(name="--option")] = (),
    check: bool = False,
    json: Json = False,
) -> None:
    """Run one inference over several worker processes, and show where its time went and what it used.

    Ctrl-C ends all of them, and leaves nothing behind.

    Examples:

        glowplug distributed run sparse:1024x120
        glowplug distributed run sparse:1024x120 --workers 4 --channel shared-memory --plan rows --check
        glowplug distributed run sparse:4096x120 --plan pipeline --micro-batches 32 --workers 2
        glowplug distributed run sparse:16384x480 --workers 8 --memory 2GB --collect categories
        glowplug distributed run sparse:1024x120 --channel object --option url=s3://bucket/prefix
        glowplug distributed run sparse:1024x120 --json | jq .seconds

    Parameters
    ----------
    model
        sparse:NEURONSxLAYERS, a network of the sparse DNN challenge; with @SEED another one of its size.
    workers
        How many processes.
    plan
        serial: one worker. replicas: each has the model and some samples. pipeline: each has some layers.
        rows: each has some rows of every layer. hybrid: replicas of groups of rows.
    channel
        How workers reach each other.
    samples
        Digits that are sent through the model.
    replicas
        Groups of a hybrid.
    micro_batches
        Parts of the samples in a pipeline; 0 takes four for each worker.
    method
        How rows are partitioned: layered, whole, block or random.
    memory
        What each worker may hold: by a control group where this host has them, else by its address space.
        Empty does not limit it.
    deadline
        The run fails when it takes longer.
    checkpoint_layers
        Write checkpoints about every so many layers; 0 does not.
    collect
        The activations of the last layer, or which samples have any.
    cache
        A folder in which partitions and parts are kept for the next run.
    option
        NAME=VALUE for the channel; may be given again.
    check
        Compare with the same model on one worker in this process, a few layers at a time.
    json
        Print JSON.
    """
    from glowplug.distributed.run_options import RunOptions
    from glowplug.distributed.runner import run as run_distributed
    from glowplug.distributed.workload.digits import digits
    from glowplug.node.isolation.memory_caps import memory_caps

    network = network_of(model)
    assignment = _assignment(network, samples, plan, workers, replicas, micro_batches, method, cache)
    options = RunOptions(
        memory_bytes=parse_bytes(memory, "--memory") if memory else 0,
        deadline_s=parse_seconds(deadline, "--deadline"),
        checkpoint_layers=checkpoint_layers,
        collect=collect,
        parts=str(cache / "parts") if cache else "",
    )
    inputs = digits(network.inputs, samples)
    signal.signal(signal.SIGTERM, _interrupt)
    with memory_caps() as caps, _Watch(assignment, network.layers, is_shown=not json) as watch:
        found = run_distributed(
            network, inputs, assignment, _room(channel, option), options, watch=watch,
            caps=None if isinstance(caps, OSError) else caps,
        )  # fmt: skip
    equal = _equal(network, inputs, found) if check else None
    if json:
        print_json(_summary(found, equal))
    else:
        _show(found, equal)


def _assignment(
    network: Network, samples: int, plan: Plan, workers: int, replicas: int, micro_batches: int,
    method: str, cache: Path | None,
) -> Assignment:  # fmt: skip
    from glowplug.distributed import assignment
    from glowplug.distributed.partition.methods import partition

    def by_rows(parts: int) -> Any:
        return partition(network, parts, method, folder=cache and cache / "partitions")

    if cache is not None:
        (cache / "partitions").mkdir(parents=True, exist_ok=True)
    if plan == "serial":
        return assignment.serial(network, samples)
    if plan == "replicas":
        return assignment.replicas(network, samples, workers)
    if plan == "pipeline":
        batches = micro_batches or min(4 * workers, max(1, samples))
        return assignment.pipeline(network, samples, assignment.even_cuts(network, workers), batches)
    if plan == "rows":
        return assignment.rows(samples, by_rows(workers))
    if replicas < 1 or workers % replicas:
        raise InvalidArguments(f"--replicas {replicas}: {workers} workers make no such groups", "replicas")
    return assignment.rows(samples, by_rows(workers // replicas), replicas)


def _room(channel: str, given: tuple[str, ...]) -> Any:
    from glowplug.distributed.channels.registry import room

    options: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            raise InvalidArguments(f"--option {each!r}: write NAME=VALUE", "option")
        options[name] = value
    try:
        return room(channel.replace("-", "_"), **options)
    except TypeError as error:
        raise InvalidArguments(f"--option: channel {channel}: {error}", "option") from error


def _interrupt(*_: object) -> None:
    """Whoever ends the command with SIGTERM also wants nothing left behind."""
    raise KeyboardInterrupt


class _Watch:
    """A bar of the steps that all workers have reached."""

    def __init__(self, assignment: Assignment, layers: int, *, is_shown: bool) -> None:
        self._steps = len(assignment.shares) * layers
        self._reached = dict.fromkeys(range(assignment.workers), 0)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} steps"),
            TimeElapsedColumn(), console=errors, transient=True, disable=not is_shown,
        )  # fmt: skip
        self._task = self._bar.add_task(f"{assignment.workers} workers", total=self._steps)

    def __call__(self, worker: int, step: int) -> None:
        self._reached[worker] = step
        self._bar.update(self._task, completed=min(self._reached.values()))

    def __enter__(self) -> _Watch:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _equal(network: Network, inputs: Any, found: Run) -> bool:
    import numpy as np

    from glowplug.distributed.workload.serial import serial

    expected = serial(network, inputs)
    if found.output.ndim == 1:
        return bool(np.array_equal(found.output, expected.any(axis=0)))
    return bool(np.array_equal(found.output, expected))


def _categories(found: Run) -> int:
    alive = found.output if found.output.ndim == 1 else found.output.any(axis=0)
    return int(alive.sum())


def _summary(found: Run, equal: bool | None) -> dict[str, Any]:
    return {
        "seconds": found.seconds,
        "gib_s": found.gib_s,
        "invocations": found.invocations,
        "rows_sent": found.rows_sent,
        "restarts": found.restarts,
        "epochs": found.epochs,
        "categories": _categories(found),
        "equal": equal,
        "meter": found.meter,
        "workers": found.workers,
    }


def _show(found: Run, equal: bool | None) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("WORKER", *(phase.upper() for phase in _PHASES), "LAYER", "OVERHEAD", "SENT", "PEAK"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found.workers:
        seconds = each.phases.seconds
        phases = (seconds.get(phase, seconds.get(f"{phase} behind", 0.0)) for phase in _PHASES)
        table.add_row(
            str(each.place.worker), *map(show_seconds, phases), show_seconds(each.phases.layer_s),
            show_seconds(each.phases.overhead_s), show_bytes(each.meter.message_bytes_sent),
            show_bytes(each.peak_bytes),
        )  # fmt: skip
    console.print(table)
    words = [
        f"{show_seconds(found.seconds)}",
        f"{found.gib_s:.3g} GiB s in {found.invocations} invocations",
        f"{found.meter.messages_sent} messages, {show_bytes(found.meter.message_bytes_sent)}",
        f"{found.rows_sent} rows",
        f"{_categories(found)} categories",
    ]
    if found.restarts:
        words.append(f"{found.restarts} restarts")
    if equal is not None:
        words.append("[green]equal to one worker[/]" if equal else "[red]NOT equal to one worker[/]")
    console.print(", ".join(words), highlight=False)
