"""A torch model's samples over many worker processes of this machine."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import asdict
from torch import nn

from glowplug.distributed.channels.base import Room
from glowplug.distributed.channels.memory import MemoryRoom
from glowplug.distributed.channels.registry import room as room_of
from glowplug.distributed.local_platform import LocalPlatform
from glowplug.distributed.orders import ROOT
from glowplug.distributed.platform import Platform
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.run_place import Took, run_folder, took_of
from glowplug.distributed.supervisor import Supervisor, Watch
from glowplug.distributed.tasks import Task
from glowplug.distributed.torch_deploying import TorchDeployed, TorchWay, deploy_torch


class TorchRun(Took, frozen=True, eq=False, kw_only=True):
    """What the model returned for each sample, mappings as dicts, and what it took."""

    outputs: list[Any]


def run_torch(
    model: nn.Module,
    inputs: Sequence[Any],
    samples: int,
    way: TorchWay,
    channel: str | Room = "shared_memory",
    options: RunOptions | None = None,
    *,
    modules: Path,
    name: str = "",
    watch: Watch = lambda worker, step: None,
    platform: Callable[[TorchDeployed], Platform] = LocalPlatform,
) -> TorchRun:
    """`samples` of which each is one of `inputs` in turn (`loader.api.run_on`), through `model` as `way`
    spreads it. What the model returns is what it returns on one thread, bit for bit.

    Its classes are imported from the folder `modules`, and from where this process imports. All else is as of
    `runner.run`; a worker's loss sends its group's workers back to the first sample without a result. Of
    `options` those count that are not of rows or of checkpoints. Raises InvalidArguments, InvalidDeclaration
    for inputs or results that cannot be carried, CannotCut, PartTooLarge, FunctionFailed for what the model
    raises, RunExists, ChannelError, DeadlinePassed, GangLost, OutOfMemory, and what else ended the run.
    """
    options = options or RunOptions()
    where = room_of(channel) if isinstance(channel, str) else channel
    if way.workers == 1:
        where = MemoryRoom()
    name = name or f"run-{secrets.token_hex(6)}"
    with run_folder(where) as folder:
        with where.open(name, way.workers) as opened:
            deployed = deploy_torch(model, inputs, samples, way, opened.address, options, folder, modules)
            runs = platform(deployed)
            try:
                supervisor = Supervisor(runs, _task(deployed), options, watch)
                supervisor.supervise()
            finally:
                runs.close()
        took = took_of(supervisor, opened.meter, runs.meter)
        return TorchRun(outputs=deployed.outputs(), **asdict(took))


def _task(deployed: TorchDeployed) -> Task:
    """Another process can take over for who needs nobody; the root needs the others' results."""
    orders = deployed.orders
    return Task(
        run=orders.run,
        workers=orders.workers,
        orders=deployed.path,
        replaceable=set(range(orders.workers)) - {ROOT} if orders.stages == 1 else set(),
        lines=lambda epoch: deployed.lines(),
        work=deployed.work,
    )
