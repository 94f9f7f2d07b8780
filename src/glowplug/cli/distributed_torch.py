"""`glowplug distributed run FILE:NAME`: a torch model's samples over worker processes of this machine."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from glowplug.cli.distributed_bar import StepsBar
from glowplug.cli.distributed_found import Found, found_in, surveyed
from glowplug.cli.distributed_rooms import On, Option, room_of
from glowplug.cli.distributed_shown import show_took, summed_up
from glowplug.cli.distributed_way import DEFAULT_REPLICAS, DEFAULT_WORKERS, METHOD, Asked, compared
from glowplug.cli.interrupts import signals_interrupt
from glowplug.cli.output import print_json
from glowplug.core.errors import InvalidArguments
from glowplug.core.units import parse_bytes, parse_seconds

if TYPE_CHECKING:
    from glowplug.distributed.torch_deploying import TorchWay
    from glowplug.distributed.torch_problem import TorchSurvey
    from glowplug.distributed.torch_runner import TorchRun
    from glowplug.policy.plans.score import Score


def check_for_torch(asked: Asked, on: On, checkpoint_layers: int) -> None:
    """What a torch model does not have. Raises InvalidArguments."""
    if on == "lambda":
        raise InvalidArguments("--on lambda: functions of Lambda run sparse networks, not torch models", "on")
    misplaced = {
        "micro-batches": asked.micro_batches > 0,
        "method": asked.method != METHOD,
        "collect": asked.collect != "activations",
        "checkpoint-layers": checkpoint_layers > 0,
    }
    for name in (name for name, is_given in misplaced.items() if is_given):
        raise InvalidArguments(
            f"--{name}: that is for sparse networks; a torch model takes one sample after another, and goes "
            "on after the last one that is done",
            name,
        )


def run_model(
    source: str, asked: Asked, example: str, inputs: str, room_options: list[Option],
    *, predict: bool, check: bool, json: bool,
) -> None:  # fmt: skip
    """As `asked`; says what it took. Raises InvalidArguments, InvalidDeclaration, and what a run raises."""
    from glowplug.distributed import carry
    from glowplug.distributed.local_platform import LocalPlatform
    from glowplug.distributed.run_options import RunOptions
    from glowplug.distributed.torch_runner import run_torch
    from glowplug.node.isolation.memory_caps import memory_caps

    found = found_in(source, example, inputs)
    memory_bytes = parse_bytes(asked.memory, "--memory") if asked.memory else 0
    has_claims = "claims" in {each.name for each in room_options}
    way, score = _way(found, asked, memory_bytes, predict=predict and not has_claims)
    room = room_of(
        score.channel if score and not asked.plan else asked.channels[0], room_options, "", "local"
    )
    signals_interrupt()
    most = -(-asked.samples // way.replicas)
    with memory_caps() as caps, StepsBar(way.workers, most, "samples", is_shown=not json) as watch:
        held = None if isinstance(caps, OSError) else caps
        options = RunOptions(
            memory_bytes=memory_bytes,
            counted="mapped" if held is None else "resident",
            deadline_s=parse_seconds(asked.deadline, "--deadline"),
        )
        ran = run_torch(
            found.model, list(map(carry.unpack, found.inputs)), asked.samples, way, room, options,
            modules=found.file.resolve().parent, watch=watch,
            platform=lambda deployed: LocalPlatform(deployed, held, options.memory_bytes),
        )  # fmt: skip
    equal = _is_equal(found, ran) if check else None
    beside = None if score is None else compared(score, ran, asked.delays, on_cloud=False)
    if json:
        print_json(summed_up(ran, {"samples": asked.samples}, equal, beside))
    else:
        show_took(ran, "SAMPLE", [f"{asked.samples} samples"], equal, beside)


def _way(found: Found, asked: Asked, memory_bytes: int, *, predict: bool) -> tuple[TorchWay, Score | None]:
    """As it is asked, or as the planner chooses, and what is expected of that."""
    from glowplug.distributed.torch_deploying import TorchWay
    from glowplug.policy.plans.chooser import choose

    if asked.plan is None:
        survey = surveyed(found, asked.samples)
        score = choose(survey.problem, asked.terms()).chosen
        starts = survey.starts(score.cut.stages)
        return TorchWay(score.cut.replicas, survey.chain if starts else (), starts), score
    way, known = _given_way(found, asked, memory_bytes)
    return way, _foretold(found, asked, way, known, memory_bytes) if predict else None


def _given_way(found: Found, asked: Asked, memory_bytes: int) -> tuple[TorchWay, TorchSurvey | None]:
    from glowplug.distributed.torch_deploying import TorchWay

    workers = asked.workers[0] if asked.workers else DEFAULT_WORKERS
    groups = {"serial": 1, "replicas": workers, "pipeline": 1}.get(
        str(asked.plan), asked.replicas or DEFAULT_REPLICAS
    )
    if workers % groups:
        raise InvalidArguments(f"--replicas {groups}: {workers} workers make no such groups", "replicas")
    if groups > asked.samples:
        raise InvalidArguments(f"{asked.samples} samples cannot be split over {groups} groups", "workers")
    stages = 1 if asked.plan in ("serial", "replicas") else workers // groups
    if stages == 1 and asked.plan in ("pipeline", "hybrid"):
        raise InvalidArguments(f"--plan {asked.plan}: {workers} workers make no pipeline of two", "workers")
    if stages == 1:
        return TorchWay(groups), None
    return _pipelines(found, asked, groups, stages, memory_bytes)


def _pipelines(
    found: Found, asked: Asked, groups: int, stages: int, memory_bytes: int
) -> tuple[TorchWay, TorchSurvey]:
    """Cut as the planner would; where that is not to be had, as even in bytes and FLOPs as memory allows."""
    from glowplug.distributed.cutting import best_cut
    from glowplug.distributed.errors import PartTooLarge
    from glowplug.distributed.torch_deploying import TorchWay
    from glowplug.policy.plans import CannotSpread
    from glowplug.policy.plans.pipeline import Pipeline
    from glowplug.policy.plans.score import needed_bytes

    survey = surveyed(found, asked.samples)
    runtime_bytes = survey.problem.machine.runtime_bytes
    with contextlib.suppress(CannotSpread):
        (spread,) = Pipeline().spreads(survey.problem, stages)
        if not memory_bytes or needed_bytes(spread, survey.problem.machine) <= memory_bytes:
            return TorchWay(groups, survey.chain, survey.starts(spread.cut.stages)), survey
    try:
        limit_bytes = max(1, memory_bytes - runtime_bytes) if memory_bytes else 0
        chain, starts = best_cut(found.model, found.answer, stages, limit_bytes)
    except PartTooLarge:  # what a worker needs is said when all of it is known
        chain, starts = best_cut(found.model, found.answer, stages, 0)
    return TorchWay(groups, tuple(chain), starts), surveyed(found, asked.samples, chain=chain)


def _foretold(
    found: Found, asked: Asked, way: TorchWay, survey: TorchSurvey | None, memory_bytes: int
) -> Score | None:
    """None over a channel that the planner does not know."""
    from glowplug.policy.plans import CannotSpread
    from glowplug.policy.plans.chooser import CHANNELS
    from glowplug.policy.plans.given import foretell
    from glowplug.policy.plans.model import MIB_PER_VCPU
    from glowplug.policy.plans.score import MIB
    from glowplug.policy.plans.spread import Cut

    if asked.channels[0] not in CHANNELS:
        return None
    survey = survey or surveyed(found, asked.samples)
    cut = Cut(
        way.replicas,
        stages=survey.stages(way.starts),
        micro_batches=-(-asked.samples // way.replicas),
    )
    memory_mib = memory_bytes // MIB or MIB_PER_VCPU
    try:
        return foretell(survey.problem, asked.terms(), cut, asked.channels[0], memory_mib)
    except CannotSpread:
        return None


def _is_equal(found: Found, ran: TorchRun) -> bool:
    """With the whole model in this process, on one thread as each worker has."""
    import torch

    from glowplug.distributed import carry
    from glowplug.distributed.torch_values import plain, run_packed, same_bits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            answers = (run_packed(found.model, each) for each in found.inputs)
            packed = [carry.pack(plain(each, "what the model returns")) for each in answers]
    finally:
        torch.set_num_threads(threads)
    expected = list(map(carry.unpack, packed))
    return all(same_bits(each, expected[n % len(expected)]) for n, each in enumerate(ran.outputs))
