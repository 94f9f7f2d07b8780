"""A spread in virtual time: the code of the channels themselves, over services that only count, with
payloads of the sizes that a spread says and workers that wait instead of computing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import msgspec
import numpy as np

from glowplug.distributed.channels.background import BackgroundChannel
from glowplug.distributed.channels.base import Channel, MessageKey, Room
from glowplug.distributed.channels.clock import Gate
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.metered.blobs import VirtualBlobs
from glowplug.distributed.channels.metered.cloud import Cloud
from glowplug.distributed.channels.metered.delays import Delays as CloudDelays
from glowplug.distributed.channels.metered.messaging import VirtualMessagingService
from glowplug.distributed.channels.metered.virtual_time import VirtualTime
from glowplug.distributed.channels.object import ObjectRoom
from glowplug.distributed.channels.paper_object import PaperObjectRoom
from glowplug.distributed.channels.paper_queue import PaperQueueRoom
from glowplug.distributed.channels.queue import QueueRoom
from glowplug.distributed.frame import Assembly, Kind, frames
from glowplug.distributed.metering import usage_of
from glowplug.policy.plans.billing import Prices, Usage, function_gib_s
from glowplug.policy.plans.critical_path import loading_s, step_costs
from glowplug.policy.plans.model import Delays, MachineModel
from glowplug.policy.plans.spread import ROOT, Spread
from glowplug.policy.plans.tree import launch_tree, started_s

_PATIENCE_S = 3600.0

ROOMS: Mapping[str, Callable[[Cloud], Room]] = {
    "queue": lambda cloud: QueueRoom(VirtualMessagingService(cloud), clock=cloud.time),
    "object": lambda cloud: ObjectRoom(partial(VirtualBlobs, cloud), clock=cloud.time),
    "paper_queue": lambda cloud: PaperQueueRoom(VirtualMessagingService(cloud), clock=cloud.time),
    "paper_object": lambda cloud: PaperObjectRoom(partial(VirtualBlobs, cloud), clock=cloud.time),
}


class SimulatedRun(msgspec.Struct, frozen=True):
    """Virtual seconds, and what was counted. `total_s` is from the first invocation to the root's having
    the result, `runtime_s` what all workers are billed for; `utilisation` their computing as a share of their
    time, of each from when it was ready."""

    total_s: float
    runtime_s: float
    ready_s: float
    utilisation: float
    meter: Meter
    usage: Usage

    def usd(self, prices: Prices) -> float:
        return prices.usd(self.usage)


def simulate(
    spread: Spread, scheme: str, machine: MachineModel, delays: Delays, memory_mib: int
) -> SimulatedRun:
    """Runs it. Raises KeyError for a scheme that is not one of ROOMS."""
    cloud = Cloud(VirtualTime(), _cloud_delays(delays))
    workers = _Workers(spread, machine, delays, memory_mib, cloud)
    if not len(spread.transfers):
        with cloud.time:
            cloud.time.run([partial(workers.compute, worker) for worker in range(spread.workers)])
        return workers.result(Meter())
    with cloud.time, ROOMS[scheme](cloud).open("simulated", spread.workers) as room:
        ends = [room.end(worker) for worker in range(spread.workers)]
        workers.begin()
        cloud.time.run([partial(workers.work, worker, end) for worker, end in enumerate(ends)])
    return workers.result(reduce(Meter.plus, (end.meter for end in ends), room.meter))


def _cloud_delays(delays: Delays) -> CloudDelays:
    fields = {name: getattr(delays, name) for name in CloudDelays.__struct_fields__}
    return CloudDelays(**fields)


class _Workers:
    def __init__(
        self, spread: Spread, machine: MachineModel, delays: Delays, memory_mib: int, cloud: Cloud
    ) -> None:
        self._spread = spread
        self._time = cloud.time
        self._memory_mib = memory_mib
        self._stretch = machine.stretch(memory_mib)
        costs = step_costs(spread, machine).scaled(np.array([self._stretch]))
        self._before, self._after, self._taking = (
            each[0] for each in (costs.before, costs.after, costs.taking)
        )
        self._begun = started_s(launch_tree(spread.workers), delays.invoke_s, delays.start_s)
        self._load = loading_s(spread, machine, delays)
        self._ended = np.zeros(spread.workers)
        self._opened_s = 0.0
        self._sent, self._wanted = _flows(spread)

    def begin(self) -> None:
        """Seconds are counted from now: opening the room is not the run's time."""
        self._opened_s = self._time.now_s()

    def compute(self, worker: int) -> None:
        """One that nobody sends anything, nor waits for."""
        busy = self._before[:, worker].sum() + self._after[:, worker].sum()
        self._time.sleep(self._begun[worker] + self._load[worker] + busy)
        self._ended[worker] = self._time.now_s() - self._opened_s

    def work(self, worker: int, end: Channel) -> None:
        """One worker's task, from its start to its end."""
        steps = self._spread.steps
        self._time.sleep(self._begun[worker] + self._load[worker])
        if self._spread.beside:
            self._work_beside(worker, end)
            return
        for step in range(steps):
            if not self._spread.lag:
                self._receive(worker, end, step)
            self._time.sleep(self._before[step, worker])
            self._send(worker, end, step)
            self._time.sleep(self._after[step, worker])
            if self._spread.lag:
                self._receive(worker, end, step)
        self._send(worker, end, steps)
        self._receive(worker, end, steps)
        self._ended[worker] = self._time.now_s() - self._opened_s

    def _work_beside(self, worker: int, end: Channel) -> None:
        """One that sends what it computed, and receives what it needs next, meanwhile. Where each look costs
        a call it looks only once it waits, or has sent its own for the same step (`BackgroundPost`)."""
        steps, lag, sender = self._spread.steps, self._spread.lag, BackgroundChannel(end, self._time)
        due, came = ([self._time.gate() for _ in range(steps)] for _ in range(2))
        if not end.limits.looks_are_calls:
            for gate in due:
                gate.set()
        self._time.spawn(partial(self._receive_all, worker, end, due, came))

        def receive(step: int) -> None:
            due[step].set()
            came[step].wait(_PATIENCE_S)
            self._take_in(worker, step)

        for step in range(steps):
            if not lag:
                receive(step)
            self._time.sleep(self._before[step, worker])
            self._send(worker, sender, step)
            if lag:
                due[step].set()
            self._time.sleep(self._after[step, worker])
            if lag:
                receive(step)
        self._send(worker, sender, steps)
        sender.flush()
        self._receive(worker, end, steps)
        self._ended[worker] = self._time.now_s() - self._opened_s

    def _receive_all(self, worker: int, end: Channel, due: Sequence[Gate], came: Sequence[Gate]) -> None:
        for step, (is_due, has_come) in enumerate(zip(due, came, strict=True)):
            is_due.wait(_PATIENCE_S)
            self._collect(worker, end, step)
            has_come.set()

    def result(self, meter: Meter) -> SimulatedRun:
        workers = self._spread.workers
        ready_each_s = np.array(self._begun) + self._load
        total_s = float(self._ended[ROOT])
        runtime_s = float(self._ended.sum() - sum(self._begun))
        computed_s = float(self._spread.compute_s.sum()) * self._stretch
        return SimulatedRun(
            total_s=total_s,
            runtime_s=runtime_s,
            ready_s=float(ready_each_s.max()),
            utilisation=computed_s / float((total_s - ready_each_s).sum()),
            meter=meter,
            usage=usage_of(meter)
            + Usage(
                invocations=workers + 1,
                function_gib_s=function_gib_s(runtime_s, self._memory_mib),
                gets=2 * workers,
            ),
        )

    def _send(self, worker: int, end: Channel, step: int) -> None:
        parcels = self._sent.get((step, worker))
        if parcels:
            limit = end.limits.max_message_bytes
            end.send(
                [
                    message
                    for target, nbytes in parcels
                    for message in frames(_key(step, worker, target), Kind.BYTES, bytes(nbytes), limit)
                ]
            )

    def _receive(self, worker: int, end: Channel, step: int) -> None:
        self._collect(worker, end, step)
        self._take_in(worker, step)

    def _collect(self, worker: int, end: Channel, step: int) -> None:
        sources = self._wanted.get((step, worker))
        if not sources:
            return
        assembly = Assembly([_key(step, source, worker) for source in sources])
        while assembly.wanted:
            assembly.add(end.receive(assembly.wanted, _PATIENCE_S))
        end.fence(0, step + 1)

    def _take_in(self, worker: int, step: int) -> None:
        if (step, worker) in self._wanted:
            self._time.sleep(self._taking[step, worker])


def _key(step: int, source: int, target: int) -> MessageKey:
    return MessageKey("simulated", 0, step, source, target)


def _flows(spread: Spread) -> tuple[dict[Any, list[tuple[int, int]]], dict[Any, list[int]]]:
    """(targets and bytes by step and source, sources by step and target)."""
    sent: dict[Any, list[tuple[int, int]]] = {}
    wanted: dict[Any, list[int]] = {}
    moved = spread.transfers
    columns = (
        moved.step.tolist(), moved.source.tolist(), moved.target.tolist(), moved.nbytes.tolist(),
        spread.returns.tolist(),
    )  # fmt: skip
    for step, source, target, nbytes, is_return in zip(*columns, strict=True):
        sent.setdefault((step, source), []).append((target, round(nbytes)))
        if not is_return:  # nobody waits for these
            wanted.setdefault((step, target), []).append(source)
    return sent, wanted
