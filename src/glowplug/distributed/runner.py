"""One inference over many worker processes of this machine."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from msgspec.structs import asdict

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.assignment import Assignment
from glowplug.distributed.channels.base import Room
from glowplug.distributed.channels.memory import MemoryRoom
from glowplug.distributed.channels.registry import room as room_of
from glowplug.distributed.checkpoints import checkpoint_blobs, remove_checkpoints
from glowplug.distributed.deploying import Deployed, deploy
from glowplug.distributed.local_platform import LocalPlatform
from glowplug.distributed.network import Floats, Network
from glowplug.distributed.platform import Platform
from glowplug.distributed.results import Output
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.run_place import Took, run_folder, took_of
from glowplug.distributed.supervisor import Supervisor, Watch
from glowplug.distributed.tasks import network_task


class Run(Took, frozen=True, eq=False, kw_only=True):
    """What came out and what it took."""

    output: Output
    rows_sent: int


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
    with run_folder(where) as folder:
        with where.open(name, assignment.workers) as opened:
            deployed = deploy(network, inputs, assignment, opened.address, options, folder)
            blobs = checkpoint_blobs(deployed.orders.checkpoints) if deployed.orders.lines else None
            runs = platform(deployed)
            try:
                supervisor = Supervisor(runs, network_task(deployed, blobs), options, watch)
                supervisor.supervise()
            finally:
                runs.close()
                if blobs is not None:
                    remove_checkpoints(blobs, name)
                    blobs.close()
        took = took_of(supervisor, opened.meter, runs.meter)
        return Run(output=deployed.output(), rows_sent=deployed.total_rows_sent, **asdict(took))
