"""`glowplug distributed run`: one inference over worker processes of this machine."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, validators
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from glowplug.cli.distributed_models import network_of
from glowplug.cli.distributed_shown import is_equal, show, summary
from glowplug.cli.functions import Json
from glowplug.cli.output import errors, print_json
from glowplug.core.errors import InvalidArguments
from glowplug.core.units import parse_bytes, parse_seconds

if TYPE_CHECKING:
    from glowplug.distributed.assignment import Assignment
    from glowplug.distributed.network import Network

Plan = Literal["serial", "replicas", "pipeline", "rows", "hybrid"]
On = Literal["local", "lambda"]
Positive = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Natural = Annotated[int, Parameter(validator=validators.Number(gte=0))]
_LAMBDA_MEMORY = "2GiB"


def run(
    model: str,
    *,
    workers: Positive = 4,
    plan: Plan = "rows",
    channel: str = "",
    samples: Positive = 1000,
    replicas: Positive = 2,
    micro_batches: Natural = 0,
    method: str = "layered",
    memory: str = "",
    deadline: str = "10m",
    checkpoint_layers: Natural = 0,
    collect: Literal["activations", "categories"] = "activations",
    cache: Path | None = None,
    option: Annotated[tuple[str, ...], Parameter(name="--option")] = (),
    on: On = "local",
    store: str = "",
    role: str = "",
    endpoint: str = "",
    region: str = "",
    layer: Annotated[tuple[str, ...], Parameter(name="--layer")] = (),
    check: bool = False,
    json: Json = False,
) -> None:
    """Run one inference over several workers, and show where its time went and what it used.

    Ctrl-C ends all of them, and leaves nothing behind.

    For example:

        glowplug distributed run sparse:1024x120
        glowplug distributed run sparse:1024x120 --workers 4 --channel shared-memory --plan rows --check
        glowplug distributed run sparse:4096x120 --plan pipeline --micro-batches 32 --workers 2
        glowplug distributed run sparse:16384x480 --workers 8 --memory 2GB --collect categories
        glowplug distributed run sparse:1024x120 --channel object --option url=s3://bucket/prefix
        glowplug distributed run sparse:1024x120 --on lambda --store s3://bucket/runs --role arn:aws:iam::..
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
        How workers reach each other; not given, shared-memory, or object in the store of --on lambda.
    samples
        Digits that are sent through the model.
    replicas
        Groups of a hybrid.
    micro_batches
        Parts in which samples go through whole layers; 0 takes four for each worker of a pipeline, else as
        few as have at most 1,024 samples.
    method
        How rows are partitioned: layered, whole, block or random.
    memory
        What each worker may hold: by a control group where this host has them, else by its address space, of
        which libraries alone take 640 MiB. Empty does not limit it; on Lambda it is 2GiB.
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
    on
        local: processes of this machine. lambda: functions of AWS Lambda, made where they are not there.
    store
        The object store, s3://BUCKET/PREFIX, through which functions get what they read.
    role
        The ARN of the role that functions take.
    endpoint
        Another server than AWS's that speaks as Lambda does.
    region
        Of the functions, where the environment does not say.
    layer
        The ARN of a Lambda layer with the packages that workers need; may be given again. Without, they are
        packed with the function.
    check
        Compare with the same model on one worker in this process, a few layers at a time.
    json
        Print JSON.
    """
    from msgspec.structs import replace

    from glowplug.cli.distributed_lambda import Cloudy, on_lambda
    from glowplug.distributed.local_platform import LocalPlatform
    from glowplug.distributed.run_options import RunOptions
    from glowplug.distributed.runner import run as run_distributed
    from glowplug.distributed.workload.digits import digits
    from glowplug.node.isolation.memory_caps import memory_caps

    cloud = Cloudy(store, role, endpoint, region, layer)
    if on == "lambda":
        cloud.check()
    network = network_of(model)
    assignment = _assignment(network, samples, plan, workers, replicas, micro_batches, method, cache)
    memory = memory or (_LAMBDA_MEMORY if on == "lambda" else "")
    options = RunOptions(
        memory_bytes=parse_bytes(memory, "--memory") if memory else 0,
        deadline_s=parse_seconds(deadline, "--deadline"),
        checkpoint_layers=checkpoint_layers,
        checkpoints=store if on == "lambda" and checkpoint_layers else "",
        collect=collect,
        parts=str(cache / "parts") if cache else "",
    )
    inputs = digits(network.inputs, samples)
    room = _room(channel or ("object" if on == "lambda" else "shared-memory"), option, store, on)
    signal.signal(signal.SIGTERM, _interrupt)
    with memory_caps() as caps, _Watch(assignment, network.layers, is_shown=not json) as watch:
        held = None if isinstance(caps, OSError) else caps
        if on == "lambda" or held is not None:
            options = replace(options, counted="resident")
        if on == "lambda":
            platform = on_lambda(cloud, options)
        else:
            platform = lambda deployed: LocalPlatform(deployed, held, options.memory_bytes)  # noqa: E731
        found = run_distributed(network, inputs, assignment, room, options, watch=watch, platform=platform)
    equal = is_equal(network, inputs, found) if check else None
    if json:
        print_json(summary(found, equal))
    else:
        show(found, equal)


def _assignment(
    network: Network, samples: int, plan: Plan, workers: int, replicas: int, micro_batches: int,
    method: str, cache: Path | None,
) -> Assignment:  # fmt: skip
    from glowplug.distributed import assignment
    from glowplug.distributed.partition.methods import partition
    from glowplug.policy.plans.replicas import CHUNK_SAMPLES

    def by_rows(parts: int) -> Any:
        return partition(network, parts, method, folder=cache and cache / "partitions")

    if cache is not None:
        (cache / "partitions").mkdir(parents=True, exist_ok=True)
    if plan in ("serial", "replicas"):
        groups = 1 if plan == "serial" else workers
        batches = micro_batches or -(-samples // (groups * CHUNK_SAMPLES))
        return assignment.spread(samples, assignment.stages(network, ()), groups, batches)
    if plan == "pipeline":
        batches = micro_batches or min(4 * workers, max(1, samples))
        return assignment.pipeline(network, samples, assignment.even_cuts(network, workers), batches)
    if plan == "rows":
        return assignment.rows(samples, by_rows(workers))
    if workers % replicas:
        raise InvalidArguments(f"--replicas {replicas}: {workers} workers make no such groups", "replicas")
    return assignment.rows(samples, by_rows(workers // replicas), replicas)


def _room(channel: str, given: tuple[str, ...], store: str, on: On) -> Any:
    """Functions of a cloud have the store in common, and no memory."""
    from glowplug.distributed.channels.registry import room

    if on == "lambda" and channel in ("shared-memory", "memory"):
        raise InvalidArguments(f"--channel {channel}: functions of Lambda share no memory", "channel")
    options: dict[str, str] = {"url": store} if on == "lambda" and channel.endswith("object") else {}
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
