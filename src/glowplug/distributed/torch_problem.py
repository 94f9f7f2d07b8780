"""From a torch model to what a planner looks at: its chain of blocks as layers, and how fast one core is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from glowplug.core.errors import InvalidArguments, UserError
from glowplug.distributed import carry
from glowplug.distributed.chains import Block, chains_of, module_bytes
from glowplug.distributed.result_log import HEAD_BYTES
from glowplug.distributed.torch_values import plain
from glowplug.policy.plans.facts import VALUE_BYTES, Encoding, LayerFacts, Problem, WorkloadFacts
from glowplug.policy.plans.model import CodecCost, MachineModel

RUNTIME_BYTES = 256 * 2**20
"""What a worker holds beside its part of the model: interpreter and torch."""
REPEATS = 3
_COPIED_VALUES = 2**20


class TorchSurvey(NamedTuple):
    """`chain` has the layers of the problem but for the first `rest`, 0 or 1."""

    problem: Problem
    chain: tuple[Block, ...]
    rest: int

    def starts(self, stages: Sequence[int]) -> tuple[int, ...]:
        """Where in the chain the stages begin that are cut before these layers."""
        return tuple(stage - self.rest for stage in stages)

    def stages(self, starts: Sequence[int]) -> tuple[int, ...]:
        return tuple(start + self.rest for start in starts)


def torch_survey(
    name: str,
    model: nn.Module,
    run: Callable[[], object],
    samples: int,
    input_bytes: int,
    slowdown: float = 1.0,
    chain: Sequence[Block] = (),
) -> TorchSurvey:
    """`run` makes the model answer one sample, which has `input_bytes`; `samples` such are the batch. Each
    block of `chain`, or else of the chain that holds the most of the model, is a layer; what is in none is
    one before them, which the first worker has.

    Runs the model a few times. Raises CannotCut, InvalidArguments for a model without FLOPs to count, and
    what `run` raises.
    """
    chains, flops = chains_of(model, run, 1)
    if not flops:
        raise InvalidArguments(f"{name}: no weights were used that a planner could count by", "model")
    if not chain:
        chain = max(chains, key=lambda blocks: (sum(block.flops for block in blocks), len(blocks)))
    rest_flops = max(0.0, flops - sum(block.flops for block in chain))
    rest_bytes = max(0, module_bytes(model) - sum(block.nbytes for block in chain))
    handed = chain[0].hidden_bytes
    rest = [Block("", rest_bytes, rest_flops, 0, handed)] if rest_bytes or rest_flops else []
    layers = tuple(_layer(block) for block in (*rest, *chain))
    inputs = -(-input_bytes // VALUE_BYTES)
    facts = WorkloadFacts(
        name, samples, inputs, layers, collect="rows", one_by_one=True, answer_bytes=_answer_bytes(run)
    )
    return TorchSurvey(Problem(facts, _machine(run, flops, slowdown)), tuple(chain), len(rest))


def _answer_bytes(run: Callable[[], object]) -> int:
    """Of what the model returns, in a result; 0 where that cannot be carried."""
    with torch.inference_mode():
        answer = run()
    try:
        return HEAD_BYTES + len(carry.pack(plain(answer, "what the model returns")))
    except UserError:
        return 0


def _layer(block: Block) -> LayerFacts:
    """A row is a number of what the block hands on, and an edge a product and a sum."""
    return LayerFacts(
        rows=-(-block.hidden_bytes // VALUE_BYTES),
        edges=round(block.flops / 2),
        weights_bytes=block.nbytes,
        live=1.0,
        live_out=1.0,
        output=Encoding(),
    )


def _machine(run: Callable[[], object], flops: float, slowdown: float) -> MachineModel:
    """One core of this machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            run()
            forward_s = min(_seconds(run) for _ in range(REPEATS))
    finally:
        torch.set_num_threads(threads)
    values = np.zeros(_COPIED_VALUES, np.float32)
    copied = CodecCost(byte_s=min(_seconds(values.tobytes) for _ in range(REPEATS)) / values.nbytes)
    return MachineModel(
        rates=((1.0, flops / 2 / forward_s),),
        encode=copied,
        decode=copied,
        runtime_bytes=RUNTIME_BYTES,
        slowdown=slowdown,
    )


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s
