"""`glowplug distributed run`: one inference over worker processes of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from glowplug.cli.distributed_bar import StepsBar
from glowplug.cli.distributed_models import inputs_of, is_torch, network_of
from glowplug.cli.distributed_plan import Delay
from glowplug.cli.distributed_rooms import On, channels_of, check_options, options_of, room_of
from glowplug.cli.distributed_shown import is_equal, show, summary
from glowplug.cli.distributed_way import METHOD, Asked, Plan, chosen, compared, foretold, given_cut
from glowplug.cli.functions import Json
from glowplug.cli.interrupts import signals_interrupt
from glowplug.cli.numbers import Natural, Positive, Whole
from glowplug.cli.output import print_json
from glowplug.core.errors import InvalidArguments
from glowplug.core.units import parse_bytes, parse_seconds
from glowplug.distributed.errors import NotAStack

_LAMBDA_MEMORY = "2GiB"
_SAMPLES, _TORCH_SAMPLES = 1000, 32


def run(
    model: str,
    *,
    example: str = "example",
    inputs: str = "",
    plan: Plan | None = None,
    workers: Annotated[tuple[Whole, ...], Parameter(consume_multiple=True, negative="")] = (),
    channel: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")] = (),
    samples: Positive | None = None,
    objective: Literal["cheapest", "fastest"] = "cheapest",
    budget: float | None = None,
    delays: Delay = "hop-100ms",
    predict: bool = True,
    replicas: Natural = 0,
    micro_batches: Natural = 0,
    relayed: Annotated[bool, Parameter(negative="")] = False,
    method: str = METHOD,
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

    Without --plan it is run as `distributed plan` would choose, of what can be run here. What was predicted
    is shown beside what was metered. Ctrl-C ends all of them, and leaves nothing behind; so does the end of
    the terminal, but under nohup.

    For example:

        glowplug distributed run sparse:1024x120
        glowplug distributed run sparse:16384x120 --objective fastest --budget 0.002 --workers 2 4 8
        glowplug distributed run sparse:1024x120 --workers 4 --channel shared-memory --plan rows --check
        glowplug distributed run sparse:4096x120 --plan pipeline --micro-batches 32 --workers 2
        glowplug distributed run sparse:16384x480 --plan rows --workers 8 --memory 2GB --collect categories
        glowplug distributed run sparse:1024x120 --channel object --option url=s3://bucket/prefix
        glowplug distributed run sparse:1024x120 --on lambda --store s3://bucket/runs --role arn:aws:iam::..
        glowplug distributed run sparse:1024x120 --json | jq .predicted.calls
        glowplug distributed run pruned.py:build --plan rows --workers 4 --samples 5000 --check
        glowplug distributed run model.py:build --plan pipeline --workers 4 --samples 64 --check
        glowplug distributed run model.py:build --inputs batch --channel object --option url=s3://bucket/runs

    Parameters
    ----------
    model
        sparse:NEURONSxLAYERS, a network of the sparse DNN challenge; with @SEED another one of its size. Or
        FILE:NAME of a callable without arguments that returns a torch.nn.Module. A stack of linear layers of
        whose weights at most a quarter are not zero, with ReLU, ReLU6, Hardtanh, clamp or nothing after each,
        is run as a network is. Any other is cut along its longest chain of modules, and answers what it
        answers on one thread of one process, bit for bit.
    example
        Of a torch model: a callable in the same file that returns its example input, as for `glowplug pack`.
        Each sample is this one; of a stack it may be several, a row each. The stack's own answers to up to 64
        are compared with the network's, and equal them but for rounding: torch sums in another order.
    inputs
        Of a torch model: a callable in the same file that returns a list of such inputs. Samples are these in
        turn, from the first on again where there are fewer.
    plan
        serial: one worker. replicas: each has the model and some samples. pipeline: each has some layers.
        rows: each has some rows of every layer. hybrid: replicas of groups of rows; of a torch model, which
        has no rows, of pipelines.
    workers
        How many processes; 4 when not given. Without --plan, how many to try: 1 2 4 8 16 when not given.
    channel
        How workers reach each other; not given, shared-memory, or object in the store of --on lambda. Without
        --plan there may be several.
    samples
        How many are sent through the model: 1000 when not given, digits, or rows of a stack in turn, from the
        first on again where there are fewer (what repeats takes fewer bytes to send than others would). Of
        any other torch model 32, of which each is a micro-batch of its own.
    objective
        Without --plan: the cheapest that keeps the deadline, or the fastest within the budget.
    budget
        Without --plan: in dollars, for one run.
    delays
        What a queue's hop takes where a prediction is for; the other delays go with it.
    predict
        With --plan: say what was predicted; before the run, it is measured how fast this machine is. Nothing
        is predicted of channels that the planner does not know, nor of a claim check.
    replicas
        Groups of a hybrid; 2 when not given.
    micro_batches
        Parts in which samples go through whole layers; 0 takes four for each worker of a pipeline, else as
        few as have at most 1,024 samples.
    relayed
        With --plan rows: what most pairs of workers send each other goes through the first, in one message
        from each and one to each. From a dozen workers on that is cheaper over queues, and slower by a hop.
        With --checkpoint-layers over queues the first also keeps what it passed on since the last checkpoint.
    method
        How rows are partitioned: layered, whole, block or random.
    memory
        What each worker may hold: by a control group where this host has them, else by its address space, of
        which libraries alone take 640 MiB. Empty does not limit it; on Lambda it is 2GiB. Without --plan it
        is the most that may be chosen, up to 10GiB, and functions of Lambda get what is chosen.
    deadline
        The run fails when it takes longer. Without --plan, what is predicted to take longer is not chosen.
    checkpoint_layers
        Write checkpoints about every so many layers; 0 does not.
    collect
        The activations of the last layer, or which samples have any.
    cache
        A folder in which partitions and parts are kept for the next run.
    option
        NAME=VALUE for the channel, or CHANNEL.NAME=VALUE for one of several, such as nats.send_timeout_s=60
        or queue.patient=false; may be given again.
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
        Compare with the same model on one worker in this process, a sparse one a few layers at a time.
    json
        Print JSON.
    """
    from msgspec.structs import replace

    from glowplug.cli.distributed_lambda import Cloudy, on_lambda
    from glowplug.cli.distributed_torch import check_for_torch, run_model
    from glowplug.distributed.assignment import of_cut
    from glowplug.distributed.local_platform import LocalPlatform
    from glowplug.distributed.partition.methods import partition
    from glowplug.distributed.partition.store import kept
    from glowplug.distributed.run_options import RunOptions
    from glowplug.distributed.runner import run as run_distributed
    from glowplug.node.isolation.memory_caps import memory_caps
    from glowplug.policy.plans.model import MIB_PER_VCPU
    from glowplug.policy.plans.score import MIB

    asked = Asked(
        plan, workers, channels_of(channel, on), replicas, micro_batches, method, objective, budget,
        deadline, memory, delays, samples or _SAMPLES, collect, relayed,
    )  # fmt: skip
    asked.check()
    if inputs and not is_torch(model):
        raise InvalidArguments("--inputs: only a torch model has any", "inputs")
    room_options = options_of(option)
    check_options(room_options, asked.channels)
    try:
        network = network_of(model, inputs or example)
    except NotAStack:
        if plan == "rows":
            raise
        asked = asked._replace(samples=samples or _TORCH_SAMPLES)
        check_for_torch(asked, on, checkpoint_layers)
        run_model(model, asked, example, inputs, room_options, predict=predict, check=check, json=json)
        return
    cloud = Cloudy(store, role, endpoint, region, layer)
    if on == "lambda":
        cloud.check()
    folder = cache / "partitions" if cache else kept()
    score = None if plan else chosen(network, asked, folder)
    room = room_of(score.channel if score else asked.channels[0], room_options, store, on)
    cut = score.cut if score else given_cut(network, asked)
    is_kept = score is not None or cache is not None
    assignment = of_cut(
        network, asked.samples, cut,
        lambda rows: partition(network, rows, cut.partition, folder=folder if is_kept else None),
    )  # fmt: skip
    memory_bytes = parse_bytes(memory, "--memory") if memory else 0
    if on == "lambda":
        memory_bytes = score.memory_mib * MIB if score else memory_bytes or parse_bytes(_LAMBDA_MEMORY, "")
    has_claims = "claims" in {each.name for each in room_options}
    if predict and score is None and not has_claims:
        mib = memory_bytes // MIB or MIB_PER_VCPU
        score = foretold(network, asked, cut, assignment.partitions, mib)
    options = RunOptions(
        memory_bytes=memory_bytes,
        deadline_s=parse_seconds(deadline, "--deadline"),
        checkpoint_layers=checkpoint_layers,
        checkpoints=store if on == "lambda" else "",
        collect=collect,
        parts=str(cache / "parts") if cache else "",
    )
    given = inputs_of(network, asked.samples)
    signals_interrupt()
    with (
        memory_caps() as caps,
        StepsBar(
            assignment.workers, len(assignment.shares) * network.layers, "steps", is_shown=not json
        ) as watch,
    ):
        held = None if isinstance(caps, OSError) else caps
        if on == "lambda" or held is not None:
            options = replace(options, counted="resident")
        if on == "lambda":
            platform = on_lambda(cloud, options)
        else:
            platform = lambda deployed: LocalPlatform(deployed, held, options.memory_bytes)  # noqa: E731
        found = run_distributed(network, given, assignment, room, options, watch=watch, platform=platform)
    equal = is_equal(network, given, found) if check else None
    beside = None
    if score is not None and not has_claims:
        is_there = on == "lambda" and not endpoint
        beside = compared(score, found, delays, on_cloud=is_there)
    if json:
        print_json(summary(found, equal, beside))
    else:
        show(found, equal, beside)
