"""One inference over many worker processes of this machine."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.assignment import Assignment
from glowplug.distributed.channels.base import Room
from glowplug.distributed.channels.memory import MemoryRoom
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.owners import mark_owner, sweep_folders
from glowplug.distributed.channels.registry import room as room_of
from glowplug.distributed.channels.shared_memory import FOLDER
from glowplug.distributed.checkpoints import checkpoint_blobs, remove_checkpoints
from glowplug.distributed.deploying import Deployed, deploy
from glowplug.distributed.local_platform import LocalPlatform
from glowplug.distributed.network import Floats, Network
from glowplug.distributed.platform import Platform
from glowplug.distributed.platform_line import Response
from glowplug.distributed.results import Output
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.supervisor import Supervisor, Watch

_GIB = 2**30


class Run(msgspec.Struct, frozen=True, eq=False):
    """What came out and what it took.

    `seconds` is from the first start of a worker to the result; writing parts comes before. `gib_s` is
    memory times time over all processes, those that were lost too: what each may hold, or without a limit
    the most it held. `meter` adds up the workers that finished, opening and closing, and `platform_meter`:
    the platform's own calls, and what workers read and write for it. `restarts` are workers that were
    replaced and times that all went back.
    """

    output: Output
    seconds: float
    workers: tuple[Response, ...]
    meter: Meter
    platform_meter: Meter
    gib_s: float
    invocations: int
    rows_sent: int
    restarts: int
    epochs: int


def run(
    network: Network,
    inputs: Floats,
    assignment: Assignment,
    channel: str | Room = "shared_memory",
    options: RunOptions | None = None,
    *,
    name: str = "",
    watch: Watch = lambda worker, step: None,
    platform: Callable[[Deployed], Platform] = LocalPlatform,
) -> Run:
    """`inputs` (network.inputs, samples) float32 through `network`, as `assignment` spreads it.

    `channel` is a name of `channels.ROOMS` or a room that is not open; a worker that is alone needs none, and
    it is not opened. `name` is the run's, unique among those that are open. `platform` is what runs the
    workers; without, processes of this machine whose address space is `memory_bytes`. Whatever happens,
    KeyboardInterrupt included, no process is left, and nothing in any broker, store or folder but cached
    parts; what a run left here whose process was killed is removed first. Raises InvalidArguments,
    PartTooLarge, RunExists, ChannelError, DeadlinePassed, GangLost, OutOfMemory, and what else ended the
    run.
    """
    options = options or RunOptions()
    if inputs.ndim != 2 or inputs.shape[0] != network.inputs:
        raise InvalidArguments(f"the network reads {network.inputs} rows, and the inputs are {inputs.shape}")
    if any(share.end > inputs.shape[1] for share in assignment.shares):
        raise InvalidArguments(f"the plan is for more than the {inputs.shape[1]} samples that are given")
    where = room_of(channel) if isinstance(channel, str) else channel
    if assignment.workers == 1:
        where = MemoryRoom()
    name = name or f"run-{secrets.token_hex(6)}"
    for base in {Path(FOLDER), Path(tempfile.gettempdir()), *where.folders}:
        sweep_folders(base)
    with tempfile.TemporaryDirectory(prefix="glowplug-run-") as folder:
        mark_owner(Path(folder))
        with where.open(name, assignment.workers) as opened:
            deployed = deploy(network, inputs, assignment, opened.address, options, Path(folder))
            blobs = checkpoint_blobs(deployed.orders.checkpoints) if deployed.orders.lines else None
            runs = platform(deployed)
            try:
                supervisor = Supervisor(runs, deployed, blobs, options, watch)
                supervisor.supervise()
            finally:
                runs.close()
                if blobs is not None:
                    remove_checkpoints(blobs, name)
                    blobs.close()
        return _run(supervisor, deployed, opened.meter, runs.meter)


def _run(supervisor: Supervisor, deployed: Deployed, opened: Meter, platform: Meter) -> Run:
    responses = tuple(response for _, response in sorted(supervisor.responses.items()))
    for response in responses:
        platform = platform.plus(response.platform_meter)
        opened = opened.plus(response.meter)
    return Run(
        output=deployed.output(),
        seconds=supervisor.seconds,
        workers=responses,
        meter=opened.plus(platform),
        platform_meter=platform,
        gib_s=sum(charge.ran_s * charge.memory_bytes for charge in supervisor.charges) / _GIB,
        invocations=len(supervisor.charges),
        rows_sent=deployed.total_rows_sent,
        restarts=supervisor.gang.losses,
        epochs=supervisor.gang.epoch + 1,
    )
