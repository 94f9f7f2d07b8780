"""What lies in files before the first worker starts: parts, cached by content, inputs and orders."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import xxhash

from glowplug.core.units import show_bytes
from glowplug.distributed.assignment import Assignment, Share
from glowplug.distributed.channels.base import Address
from glowplug.distributed.errors import PartTooLarge
from glowplug.distributed.exchange import ATTEMPTS
from glowplug.distributed.network import Floats, Network
from glowplug.distributed.orders import FIRST, Form, Orders, lines_of, part_name, write_orders
from glowplug.distributed.part_file import VERSION, read_part, write_parts
from glowplug.distributed.partition.result import Partition
from glowplug.distributed.results import Output
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.sample_order import Order, by_input, put_back, write_inputs
from glowplug.distributed.schedule import parts_of
from glowplug.distributed.start import Work
from glowplug.policy.plans.memory import buffer_bytes, kernel_bytes
from glowplug.policy.plans.model import RUNTIME_BYTES, is_heavy
from glowplug.policy.plans.relay import is_relayed

MAPPED_RUNTIME_BYTES = 640 * 2**20
"""Address space of a worker without its part: that of libraries which it never touches, and threads, too."""
IN_FLIGHT_BYTES = 64 * 2**20
"""So much, about, may lie between a worker that is ahead and one that is behind."""
IN_MEMORY = ("memory", "shared_memory")
"""Channels on which a message comes without anybody's help."""
_FORMS: dict[str, Form] = {"memory": "plain", "shared_memory": "plain", "nats": "light"}
"""Where bytes cost nothing; elsewhere there are as few as can be."""
_SENT = "rows_sent.json"
GENERATIONS = 2**24 - ATTEMPTS
"""A message counts its epochs in 32 bits, of which each epoch of a run takes eight."""
Held = tuple[int, int]
"""Bytes of weights, and of activations and what is worked in."""


class Deployed(msgspec.Struct, frozen=True, eq=False):
    """`rows_sent` by partition and layer: rows that cross before it, once for each target, in each share.
    `order` is that of the samples in the files of inputs and of the result; None as they came."""

    orders: Orders
    path: Path
    rows_sent: tuple[tuple[int, ...], ...]
    order: Order | None = None

    @property
    def address(self) -> Address:
        return self.orders.address

    @property
    def work(self) -> Work:
        return "network"

    @property
    def total_rows_sent(self) -> int:
        return sum(sum(self.rows_sent[share.partition]) for share in self.orders.shares)

    def output(self) -> Output:
        """The result that the root wrote, its samples as they came."""
        found: Output = np.load(self.orders.result)
        return found if self.order is None else put_back(found, self.order)


def deploy(
    network: Network,
    inputs: Floats,
    assignment: Assignment,
    address: Address,
    options: RunOptions,
    folder: Path,
    clock: Callable[[], float] = time.time,
) -> Deployed:
    """Writes all that workers read below `folder`, which is empty, and the cache of parts. The run's
    generation is its second by the `clock`.

    Raises PartTooLarge where a worker's part exceeds what it may hold.
    """
    if options.memory_bytes:
        check_held(_least_bytes(network, assignment), options)
    parts = folder / "parts"
    parts.mkdir()
    cache = Path(options.parts or folder / "cache")
    rows_sent = []
    for number, partition in enumerate(assignment.partitions):
        made = _cached(network, partition, cache)
        rows_sent.append(msgspec.json.decode((made / _SENT).read_bytes(), type=tuple[int, ...]))
        for role in range(partition.workers):
            (parts / part_name(number, role)).symlink_to((made / part_name(0, role)).resolve())
    form = options.form or _FORMS.get(address.channel, "encoded")
    order = None if form == "plain" else by_input(inputs, assignment.shares)
    write_inputs(folder / "inputs.npy", inputs, order)
    window = _window(assignment.shares, rows_sent)
    in_memory = address.channel in IN_MEMORY
    relayed = _relayed(assignment, parts, network.layers) if assignment.relayed else ()
    orders = Orders(
        address=address,
        layers=network.layers,
        samples=inputs.shape[1],
        outputs=network.rows(network.layers - 1),
        shares=assignment.shares,
        finals=tuple(tuple(map(int, np.unique(each.owners[-1]))) for each in assignment.partitions),
        inputs=str(folder / "inputs.npy"),
        parts=str(parts),
        checkpoints=options.checkpoints or str(folder / "checkpoints"),
        result=str(folder / "result.npy"),
        lines=lines_of(assignment.shares, network.layers, options.checkpoint_layers, window),
        window=window,
        relayed=relayed,
        barrier=options.barrier,
        background=(
            not in_memory and _is_heavy(network, assignment)
            if options.background is None
            else options.background
        ),
        form=form,
        collect=options.collect,
        keep=options.keep,
        stall_s=options.stall_s,
        faults=options.faults,
        generation=int(clock()) % GENERATIONS,
    )
    path = folder / "orders.json"
    write_orders(orders, path)
    if options.memory_bytes:
        check_held([held_bytes(orders, worker) for worker in range(orders.workers)], options)
    return Deployed(orders, path, tuple(rows_sent), order)


def _is_heavy(network: Network, assignment: Assignment) -> bool:
    """As the planner sees it: by the worker that has most of a layer."""
    samples = [0] * len(assignment.partitions)
    for share in assignment.shares:
        samples[share.partition] = max(samples[share.partition], share.samples)
    return any(
        is_heavy(network.edges(index) * np.bincount(owners).max() / len(owners), many)
        for partition, many in zip(assignment.partitions, samples, strict=True)
        for index, owners in enumerate(partition.owners)
    )


def held_bytes(orders: Orders, worker: int) -> Held:
    """What a worker takes without its runtime."""
    parts = [
        read_part(orders.part(partition, role), check=False) for partition, role in parts_of(orders, worker)
    ]
    samples = max(share.samples for share in orders.shares if worker in share.members)
    weights = sum(part.weights_bytes for part in parts)
    layers = [layer for part in parts for layer in part.layers]
    kernels = sum(
        kernel_bytes(
            len(layer.rows),
            sum(group.layer.edges for group in layer.groups),
            has_some=len(layer.groups) > 1,
        )
        for layer in layers
    )
    return weights, kernels + buffer_bytes(max(part.height for part in parts), samples)


def read_bytes(orders: Orders, worker: int) -> int:
    """What a worker reads of files: its parts and the inputs."""
    parts = sum(orders.part(*each).stat().st_size for each in parts_of(orders, worker))
    return parts + Path(orders.inputs).stat().st_size


def _least_bytes(network: Network, assignment: Assignment) -> list[Held]:
    """By worker, without building a layer: rows that it is sent are left out, and rows count as alike."""
    held = []
    for worker in range(assignment.workers):
        weights, kernels, widest = 0.0, 0, 0
        for partition, role in {
            (share.partition, share.members.index(worker))
            for share in assignment.shares
            if worker in share.members
        }:
            for index, owner in enumerate(assignment.partitions[partition].owners):
                rows = int(np.count_nonzero(owner == role))
                edges = network.edges(index) * rows / len(owner)
                weights += 8 * edges + 12 * rows
                kernels += kernel_bytes(rows, int(edges), has_some=0 < rows < len(owner))
                widest = max(widest, rows)
        samples = max(share.samples for share in assignment.shares if worker in share.members)
        held.append((int(weights), kernels + buffer_bytes(widest, samples)))
    return held


def check_held(
    held: Sequence[Held], options: RunOptions, runtime: int = RUNTIME_BYTES, mapped_runtime: int = 0
) -> None:
    """What each worker has beside its runtime; `runtime` and `mapped_runtime` are of this one, as memory is
    counted. Raises PartTooLarge."""
    weights, worked_in = max(held, key=sum)
    how = ""
    if options.counted == "mapped":
        runtime = mapped_runtime or MAPPED_RUNTIME_BYTES
        how = ", all that it maps: without control groups that is what counts"
    total = weights + worked_in + runtime
    if total > options.memory_bytes:
        raise PartTooLarge(
            f"worker {held.index((weights, worked_in))} needs {total} bytes ({show_bytes(weights)} of "
            f"weights, {show_bytes(worked_in)} to work in, {show_bytes(runtime)} of runtime{how}), and a "
            f"worker may hold {options.memory_bytes}: use more workers, smaller batches, or more memory"
        )


def _window(shares: Sequence[Share], rows_sent: Sequence[tuple[int, ...]]) -> int:
    """How many shares a worker may be ahead of those it sends to; 0 where all of them may be in flight."""
    most = max((share.samples * max(rows_sent[share.partition]) * 4 for share in shares), default=0)
    window = max(2, IN_FLIGHT_BYTES // max(1, most))
    return window if any(_shares_alike(shares, share) > window for share in shares) and most else 0


def _relayed(assignment: Assignment, parts: Path, layers: int) -> tuple[int, ...]:
    """The steps for which so many pairs of workers exchange something that it goes through the root."""
    pairs = np.zeros(layers, np.int64)
    for role in range(assignment.workers):
        for layer in read_part(parts / part_name(0, role), check=False).layers:
            pairs[layer.index] += len(layer.sources)
    return tuple((FIRST + np.flatnonzero(is_relayed(pairs, assignment.workers))).tolist())


def _shares_alike(shares: Sequence[Share], share: Share) -> int:
    return sum(each.members == share.members for each in shares)


def _cached(network: Network, partition: Partition, cache: Path) -> Path:
    """The folder with the parts of one partition, made where it is not there."""
    cache.mkdir(parents=True, exist_ok=True)
    name = f"{_digest(network, partition)}-{partition.workers}"
    if not (cache / name).is_dir():
        fresh = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=cache))
        try:
            sent = write_parts(
                network, partition, [fresh / part_name(0, role) for role in range(partition.workers)]
            )
            (fresh / _SENT).write_bytes(msgspec.json.encode(sent))
            try:
                fresh.rename(cache / name)
            except OSError:
                if not (cache / name).is_dir():
                    raise
                # another run made the same meanwhile
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return cache / name


def _digest(network: Network, partition: Partition) -> str:
    hasher = xxhash.xxh3_128(f"{VERSION} {network.digest} {partition.workers}".encode())
    for owners in partition.owners:
        hasher.update(np.ascontiguousarray(owners).data)
    return hasher.hexdigest()
