"""What lies in files before the first worker of a torch model starts: packs, inputs and orders."""

from __future__ import annotations

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
from glowplug.distributed.deploying import GENERATIONS, IN_FLIGHT_BYTES, IN_MEMORY, check_held
from glowplug.distributed.result_log import counted, whole
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.start import Work
from glowplug.distributed.torch_orders import TorchOrders, write_torch_orders
from glowplug.distributed.torch_parts import write_torch_parts
from glowplug.distributed.torch_problem import RUNTIME_BYTES
from glowplug.distributed.torch_values import plain
from glowplug.policy.plans.model import is_heavy
from glowplug.policy.plans.spread import split

_MAPPED_RUNTIME_BYTES, _MAPPED_THREAD_BYTES = 768 * 2**20, 10 * 2**20
"""Address space of a worker without its part, torch's libraries included; and of a thread's stack."""
_MOST_UNDER_WAY = 32
"""A sample that is under way has a thread of the head's."""


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
    given = [plain(each, "an input") for each in inputs]
    (folder / "inputs").write_bytes(carry.pack(given))
    if options.memory_bytes and way.stages == 1:  # before it is written once more
        _check([module_bytes(model)], way, options)
    weights = write_torch_parts(model, way.chain, way.starts, folder / "parts")
    if options.memory_bytes:
        _check(weights, way, options)
    heavy = is_heavy(max((block.flops for block in way.chain), default=0.0) / 2, 1)
    orders = TorchOrders(
        address=address,
        stages=way.stages,
        shares=tuple(split(samples, way.replicas)),
        inputs=str(folder / "inputs"),
        parts=str(folder / "parts"),
        logs=str(folder / "logs"),
        modules=str(modules),
        window=_window(way),
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


def _check(weights: Sequence[int], way: TorchWay, options: RunOptions) -> None:
    """What blocks hand on, twice: what came, and what is made of it."""
    widest = 2 * max((block.hidden_bytes for block in way.chain), default=0)
    mapped = _MAPPED_RUNTIME_BYTES + _window(way) * _MAPPED_THREAD_BYTES * (way.stages > 1)
    check_held([(nbytes, widest) for nbytes in weights], options, RUNTIME_BYTES, mapped)


def _window(way: TorchWay) -> int:
    """How many samples a head has under way: enough for all workers and what lies between them."""
    handed = max((block.hidden_bytes for block in way.chain), default=0)
    return max(2 * way.stages, min(_MOST_UNDER_WAY, IN_FLIGHT_BYTES // max(1, handed)))
