"""What lies in files before the first worker of a torch model starts: packs, inputs and orders."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from glowplug.core.errors import InvalidArguments
from glowplug.distributed import carry
from glowplug.distributed.chains import Block, module_bytes
from glowplug.distributed.channels.base import Address
from glowplug.distributed.channels.inbox import KEPT_BYTES
from glowplug.distributed.deploying import GENERATIONS, IN_FLIGHT_BYTES, IN_MEMORY, check_held
from glowplug.distributed.errors import PartTooLarge
from glowplug.distributed.result_log import counted, whole
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.start import Work
from glowplug.distributed.torch_orders import TorchOrders, write_inputs, write_torch_orders
from glowplug.distributed.torch_parts import write_torch_parts
from glowplug.distributed.torch_problem import RUNTIME_BYTES
from glowplug.distributed.torch_values import packed_input
from glowplug.policy.plans.memory import LEAST_UNDER_WAY, forgotten_every, passing_bytes
from glowplug.policy.plans.model import is_heavy
from glowplug.policy.plans.spread import split

_MAPPED_RUNTIME_BYTES, _MAPPED_THREAD_BYTES = 768 * 2**20, 10 * 2**20
"""Address space of a worker without its part, torch's libraries included; and of a thread's stack."""
_MOST_UNDER_WAY = 32
"""A sample that is under way has a thread of the head's."""
_MOST_KEPT_BYTES = KEPT_BYTES * 3 // 4
"""Of samples under way all may have come to one worker, beside other arguments than what blocks hand on."""


class TorchWay(msgspec.Struct, frozen=True):
    """`replicas` groups share the samples; in each, the first worker has what is in no block of `chain` and
    the blocks before the first of `starts`, and each other those from one of `starts` on up to the next."""

    replicas: int = 1
    chain: tuple[Block, ...] = ()
    starts: tuple[int, ...] = ()

    @property
    def stages(self) -> int:
        return len(self.starts) + 1

    @property
    def workers(self) -> int:
        return self.replicas * self.stages


class TorchDeployed(msgspec.Struct, frozen=True, eq=False):
    orders: TorchOrders
    path: Path

    @property
    def address(self) -> Address:
        return self.orders.address

    @property
    def work(self) -> Work:
        return "torch"

    def lines(self) -> dict[int, int]:
        """By worker the sample at which it can begin again: the first whose result its head has not."""
        begun = [
            first + counted(self.orders.log(group)) for group, (first, _) in enumerate(self.orders.shares)
        ]
        return {worker: begun[worker // self.orders.stages] for worker in range(self.orders.workers)}

    def outputs(self) -> list[Any]:
        return [carry.unpack(body) for body in whole(self.orders.result.read_bytes())]


def deploy_torch(
    model: nn.Module,
    inputs: Sequence[Any],
    samples: int,
    way: TorchWay,
    address: Address,
    options: RunOptions,
    folder: Path,
    modules: Path,
    clock: Callable[[], float] = time.time,
) -> TorchDeployed:
    """Writes all that workers read below `folder`, which is empty. As `deploying.deploy`.

    Raises InvalidArguments, PartTooLarge, CannotCut, and InvalidDeclaration for inputs that cannot be
    carried.
    """
    if not 1 <= way.replicas <= samples:
        raise InvalidArguments(f"{samples} samples cannot be split into {way.replicas} replicas", "workers")
    for name in ("parts", "logs"):
        (folder / name).mkdir()
    write_inputs([packed_input(each) for each in inputs], folder / "inputs")
    handed = max((block.hidden_bytes for block in way.chain), default=0)
    window = most_under_way(handed, way.stages)
    if options.memory_bytes and way.stages == 1:  # before it is written once more
        _check([module_bytes(model)], 2 * handed, 0, options)
    weights = write_torch_parts(model, way.chain, way.starts, folder / "parts")
    if options.memory_bytes and way.stages > 1:
        window = _fitting(weights, handed, window, options)
    heavy = is_heavy(max((block.flops for block in way.chain), default=0.0) / 2, 1)
    orders = TorchOrders(
        address=address,
        stages=way.stages,
        shares=tuple(split(samples, way.replicas)),
        inputs=str(folder / "inputs"),
        parts=str(folder / "parts"),
        logs=str(folder / "logs"),
        modules=(str(modules), *map(os.path.abspath, sys.path)),
        window=window,
        forgotten_every=forgotten_every(handed),
        background=(
            address.channel not in IN_MEMORY and heavy if options.background is None else options.background
        ),
        keep=options.keep,
        stall_s=options.stall_s,
        faults=options.faults,
        generation=int(clock()) % GENERATIONS,
    )
    path = folder / "orders.json"
    write_torch_orders(orders, path)
    return TorchDeployed(orders, path)


def most_under_way(handed: int, stages: int) -> int:
    """How many samples a head has under way, where blocks hand on so many bytes: enough for all workers and
    what lies between them, and no more than one of these keeps that is slower than all others."""
    handed = max(1, handed)
    enough = max(2 * stages, min(_MOST_UNDER_WAY, IN_FLIGHT_BYTES // handed))
    return min(enough, 1 + _MOST_KEPT_BYTES // handed)


def _fitting(weights: Sequence[int], handed: int, window: int, options: RunOptions) -> int:
    """As many under way as memory allows. Raises PartTooLarge where that are too few."""
    least = min(window, LEAST_UNDER_WAY)
    for fewer in range(window, least, -1):
        with contextlib.suppress(PartTooLarge):
            _check(weights, passing_bytes(handed, fewer), fewer, options)
            return fewer
    _check(weights, passing_bytes(handed, least), least, options)
    return least


def _check(weights: Sequence[int], worked_in: int, threads: int, options: RunOptions) -> None:
    mapped = _MAPPED_RUNTIME_BYTES + threads * _MAPPED_THREAD_BYTES
    check_held([(nbytes, worked_in) for nbytes in weights], options, RUNTIME_BYTES, mapped)
