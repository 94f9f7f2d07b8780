"""`glowplug distributed plan`: every way to run one inference over many workers, and which to take."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.table import Table

from glowplug.cli.distributed_found import found_in, surveyed
from glowplug.cli.distributed_models import inputs_of, network_of
from glowplug.cli.functions import Json
from glowplug.cli.numbers import Whole
from glowplug.cli.output import console, errors, plain_table, print_json
from glowplug.core.errors import InvalidArguments
from glowplug.core.units import parse_bytes, parse_seconds, show_bytes, show_seconds
from glowplug.distributed.errors import NotAStack

if TYPE_CHECKING:
    from glowplug.distributed.network import Floats, Network
    from glowplug.policy.plans.chooser import Choice, Terms
    from glowplug.policy.plans.facts import Problem
    from glowplug.policy.plans.score import Score

_SHOWN = 12
Delay = Literal["hop-20ms", "hop-100ms", "hop-250ms"]


def plan(
    model: str,
    *,
    example: str = "example",
    samples: Whole = 10_000,
    objective: Literal["cheapest", "fastest"] = "cheapest",
    deadline: str = "",
    budget: float | None = None,
    memory_per_worker: str = "10GiB",
    workers: Annotated[tuple[Whole, ...], Parameter(consume_multiple=True, negative="")] = (1, 2, 4, 8, 16),
    channels: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")] = (
        "queue",
        "object",
        "nats",
    ),
    plans: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")] = (),
    delays: Delay = "hop-100ms",
    slowdown: float = 1.0,
    cache: Path | None = None,
    json: Annotated[
        Json, Parameter(help="Print JSON: the choice, the front, and why the others lost.")
    ] = False,
) -> None:
    """Predict seconds and dollars of every way to run a model over workers, and choose one.

    Nothing is run but some samples, and how fast this machine is, measured for a second or two. What lies
    between workers in a cloud is not measured: its delays are stated. Prices are those of a dated table.

    For example:

        glowplug distributed plan sparse:1024x120
        glowplug distributed plan sparse:16384x120 --objective fastest --budget 0.002
        glowplug distributed plan sparse:16384x1920 --memory-per-worker 2GB --workers 8 16
        glowplug distributed plan sparse:1024x120 --plans serial pipeline --deadline 5s
        glowplug distributed plan sparse:1024x120 --channels queue --json | jq .chosen
        glowplug distributed plan model.py:build --samples 256 --memory-per-worker 2GB
        glowplug distributed plan pruned.py:build --plans serial rows hybrid --workers 1 2 4

    Parameters
    ----------
    model
        sparse:NEURONSxLAYERS, a network of the sparse DNN challenge; with @SEED another one of its size. Or
        FILE:NAME of a callable without arguments that returns a torch.nn.Module. A stack of linear layers of
        whose weights at most a quarter are not zero, with ReLU, ReLU6, Hardtanh, clamp or nothing after each,
        is spread as a network is. Of any other its longest chain of modules is what a pipeline cuts, as a
        deployed function's with `workers=` is.
    example
        Of a torch model: a callable in the same file that returns its example input, one sample, as for
        `glowplug pack`; of a stack, one sample or several, a row each.
    samples
        The batch. Of a stack: its examples in turn, from the first on again where there are fewer.
    objective
        The cheapest that keeps the deadline, or the fastest within the budget.
    deadline
        From the first invocation to the result, as 30s or 5m; empty is none.
    budget
        In dollars, for one run.
    memory_per_worker
        The most that a worker may be given, counted as Lambda does, and `distributed run` on a host with
        control groups.
    workers
        How many workers to try.
    channels
        queue, object, nats, shared_memory.
    plans
        serial, replicas, pipeline, rows, hybrid; all of them when not given.
    delays
        What a queue's hop takes; the other delays go with it.
    slowdown
        How many times slower than this machine's core one vCPU of the platform is.
    cache
        Keep partitions in this folder; a folder of yours for caches when not given.
    """
    from glowplug.distributed.partition.store import kept
    from glowplug.policy.plans.chooser import choose

    memory_bytes = parse_bytes(memory_per_worker, "--memory-per-worker")
    terms = terms_of(objective, deadline, budget, memory_bytes, workers, channels, plans, delays)
    try:
        network = network_of(model, example)
    except NotAStack:
        if set(plans) == {"rows"}:
            raise
        _check_numbers(samples, slowdown)
        problem = surveyed(found_in(model, example), samples, slowdown).problem
    else:
        problem = problem_of(network, samples, terms, cache or kept(), slowdown=slowdown)
    choice = choose(problem, terms)
    if json:
        print_json(choice)
        return
    _show(choice, problem, terms)


def terms_of(
    objective: Literal["cheapest", "fastest"], deadline: str, budget: float | None, memory_bytes: int,
    workers: tuple[int, ...], channels: tuple[str, ...], plans: tuple[str, ...], delays: str,
) -> Terms:  # fmt: skip
    from glowplug.distributed.prices import price_table
    from glowplug.policy.plans.chooser import CHANNELS, Objective, Terms
    from glowplug.policy.plans.model import DELAYS
    from glowplug.policy.registry import POLICIES

    known = {"channels": tuple(CHANNELS), "plans": tuple(POLICIES["plans"])}
    for name, given in (("channels", channels), ("plans", plans)):
        unknown = [each for each in given if each.replace("-", "_") not in known[name]]
        if unknown:
            raise InvalidArguments(f"--{name} {' '.join(unknown)}: there are {', '.join(known[name])}", name)
    if budget is not None and not 0 <= budget < inf:
        raise InvalidArguments(f"--budget {budget}: it is so many dollars", "budget")
    if not workers or min(workers) < 1:
        raise InvalidArguments(f"--workers {' '.join(map(str, workers))}: each is at least 1", "workers")
    table = price_table()
    return Terms(
        prices=table.prices(),
        delays=DELAYS[delays],
        objective=Objective(objective, parse_seconds(deadline, "--deadline") if deadline else None, budget),
        memory_per_worker_bytes=memory_bytes,
        workers=tuple(sorted(set(workers))),
        channels=tuple(each.replace("-", "_") for each in channels),
        plans=plans or known["plans"],
        broker=table.broker,
    )


def _check_numbers(samples: int, slowdown: float) -> None:
    """Raises InvalidArguments."""
    if samples < 1:
        raise InvalidArguments(f"--samples {samples}: a batch has at least one", "samples")
    if not 0 < slowdown < inf:
        raise InvalidArguments(f"--slowdown {slowdown}: it is above 0, and finite", "slowdown")


def problem_of(
    network: Network, samples: int, terms: Terms, folder: Path, *, method: str = "layered",
    slowdown: float = 1.0,
) -> Problem:  # fmt: skip
    from msgspec.structs import replace

    from glowplug.distributed.calibration import calibrate
    from glowplug.distributed.example_network import ExampleNetwork
    from glowplug.distributed.planning import look

    _check_numbers(samples, slowdown)
    with errors.status("how fast this machine is") as status:
        machine = replace(calibrate(network), slowdown=slowdown)
        cut = terms.workers if {"rows", "hybrid"} & set(terms.plans) else ()
        some = some_inputs(network, samples)
        problem = look(network, some, samples, machine, cut, folder, tell=status.update, method=method)
    if isinstance(network, ExampleNetwork):  # a torch model is asked for what it answers
        return replace(problem, workload=replace(problem.workload, collect="rows"))
    return problem


def some_inputs(network: Network, samples: int) -> Floats:
    """So many that running them takes seconds."""
    return inputs_of(network, min(samples, max(256, min(2048, 2**22 // network.inputs))))


def _show(choice: Choice, problem: Problem, terms: Terms) -> None:
    facts, chosen = problem.workload, choice.chosen
    console.print(
        f"[bold]{facts.name}[/], {facts.samples} samples: {show_bytes(facts.weights_bytes)} of weights; "
        f"delays as stated ({terms.delays.name}), prices of {_price_date()}",
        highlight=False,
    )
    table = Table(
        box=None, pad_edge=False, header_style="bold", title="what nothing beats", title_justify="left"
    )
    for name in ("", "PLAN", "WORKERS", "CHANNEL", "MEMORY", "TIME", "DOLLARS", "CALLS", "SENT", "NEEDS"):
        table.add_column(name, justify="left" if name in ("", "PLAN", "CHANNEL") else "right")
    for each in choice.front if chosen in choice.front else (*choice.front, chosen):
        table.add_row("[green]>[/]" if each == chosen else "", *_cells(each))
    console.print(table)
    console.print(f"[green]>[/] {chosen.name}{_cut(chosen)}", highlight=False)
    lost = plain_table("why others lost")
    lost.add_column("WAY", no_wrap=True)
    lost.add_column("WHY")
    for beaten in choice.lost[:_SHOWN]:
        lost.add_row(beaten.name, beaten.why)
    console.print(lost)
    if len(choice.lost) > _SHOWN:
        console.print(f"and {len(choice.lost) - _SHOWN} more: --json shows all", style="dim")


def _cells(each: Score) -> list[str]:
    return [
        f"{each.plan} relayed" if each.cut.relayed else each.plan, str(each.workers),
        each.channel if each.workers > 1 else "-", f"{each.memory_mib} MiB",
        show_seconds(each.total_s), f"{each.usd:.2e}", str(each.calls), show_bytes(each.nbytes),
        show_bytes(each.memory_bytes),
    ]  # fmt: skip


def _cut(each: Score) -> str:
    """What is left to say of it once the plan is named."""
    cut = []
    if each.plan == "hybrid":
        cut.append(f"{each.cut.replicas} groups of {each.workers // each.cut.replicas}")
    if each.cut.stages:
        cut.append(f"layers cut before {', '.join(map(str, each.cut.stages))}")
    if each.cut.rows > 1:
        cut.append(f"rows cut {each.cut.partition}")
    if each.cut.relayed:
        cut.append("most of what is sent goes through the first")
    if each.cut.micro_batches > 1:
        cut.append(f"{each.cut.micro_batches} micro-batches")
    return f": {'; '.join(cut)}" if cut else ""


def _price_date() -> str:
    from glowplug.distributed.prices import price_table

    return price_table().as_of
