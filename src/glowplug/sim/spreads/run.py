"""One spread in virtual time: workers as processes, under a stated delay model and with a scheme of exchange."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from glowplug.policy.plans.billing import Prices, Usage, function_gib_s
from glowplug.policy.plans.channels import per_receiver, per_sender
from glowplug.policy.plans.critical_path import loading_s
from glowplug.policy.plans.model import Delays, MachineModel
from glowplug.policy.plans.spread import Spread
from glowplug.policy.plans.tree import launch_tree, started_s
from glowplug.sim.agenda import Agenda
from glowplug.sim.processes import Process, start
from glowplug.sim.spreads.queues import QueueService
from glowplug.sim.spreads.schemes import Objects, PaperObject, PaperQueue, Parcel, Queue, Scheme
from glowplug.sim.spreads.stores import ObjectStore
from glowplug.sim.spreads.world import Counts, Node

LINGER_S = 0.02
"""Ours on a queue: half a poll's price is as much of a worker with 512 MiB as this."""
RETRY_S = 0.02
SCHEMES = ("paper_queue", "paper_object", "queue", "object")


class SimulatedRun(msgspec.Struct, frozen=True):
    """Virtual seconds, and counts of what was billed. `working_s` is from when the last worker was ready to the end;
    `utilisation` the workers' computing as a share of it."""

    total_s: float
    runtime_s: float
    working_s: float
    utilisation: float
    usage: Usage
    counts: Counts

    def usd(self, prices: Prices) -> float:
        return prices.usd(self.usage)


def simulate(
    spread: Spread, scheme: str, machine: MachineModel, delays: Delays, memory_mib: int
) -> SimulatedRun:
    """Runs it. Raises KeyError for a scheme that is not one of SCHEMES."""
    return _Run(spread, scheme, machine, delays, memory_mib).run()


class _Run:
    def __init__(
        self, spread: Spread, scheme: str, machine: MachineModel, delays: Delays, memory_mib: int
    ) -> None:
        self._spread = spread
        self._memory_mib = memory_mib
        self._stretch = machine.stretch(memory_mib)
        self._agenda = Agenda()
        self._counts = Counts()
        self._nodes = [Node(self._agenda, delays) for _ in range(spread.workers + 1)]
        self._scheme = self._exchange(scheme, delays)
        self._begun = started_s(launch_tree(spread.workers), delays.invoke_s, delays.start_s)
        self._load = loading_s(spread, machine, delays).tolist()
        self._ended = [0.0] * (spread.workers + 1)
        self._sent, self._wanted = _parcels(spread)
        self._encode_s = per_sender(spread, spread.transfers.values) / machine.encode_values_s
        self._decode_s = per_receiver(spread, spread.transfers.values) / machine.decode_values_s

    def run(self) -> SimulatedRun:
        for worker in range(self._spread.workers):
            self._agenda.at(
                self._begun[worker], partial(start, self._agenda, self._work(worker), self._ender(worker))
            )
        coordinator = self._spread.workers
        start(self._agenda, self._gather(), self._ender(coordinator))
        while self._agenda.step(float("inf")):
            pass
        if not all(self._ended):
            raise RuntimeError("a worker waits for what nobody sends")
        return self._result()

    def _exchange(self, name: str, delays: Delays) -> Scheme:
        queues = partial(QueueService, self._agenda, delays, self._nodes, self._counts)
        store = partial(ObjectStore, self._agenda, delays, self._nodes, self._counts)
        made: dict[str, Callable[[], Scheme]] = {
            "paper_queue": lambda: PaperQueue(queues(), self._spread),
            "paper_object": lambda: PaperObject(self._agenda, store()),
            "queue": lambda: Queue(queues(), self._spread, LINGER_S, delays.threads),
            "object": lambda: Objects(self._agenda, store(), RETRY_S),
        }
        return made[name]()

    def _work(self, worker: int) -> Process:
        spread = self._spread
        yield self._load[worker]
        last_s = 0.0
        for step in range(spread.steps):
            if not spread.lag:
                yield from self._receive(step, worker)
            yield spread.urgent_s[step, worker] * self._stretch
            parcels = self._sent.get((step, worker))
            if parcels:
                yield self._encode_s[step, worker] * self._stretch
                last_s = self._scheme.send(parcels)
            yield spread.idle_s[step, worker] * self._stretch
            if spread.lag:
                yield from self._receive(step, worker)
        yield last_s - self._agenda.now_s

    def _gather(self) -> Process:
        for step in range(self._spread.steps):
            yield from self._receive(step, self._spread.workers)

    def _receive(self, step: int, worker: int) -> Process:
        parcels = self._wanted.get((step, worker))
        if parcels:
            yield from self._scheme.receive(parcels)
            yield self._decode_s[step, worker] * self._stretch

    def _ender(self, worker: int) -> Callable[[], None]:
        def end() -> None:
            self._ended[worker] = self._agenda.now_s

        return end

    def _result(self) -> SimulatedRun:
        workers = self._spread.workers
        ready_s = max(begun + load for begun, load in zip(self._begun, self._load, strict=True))
        total_s = self._ended[workers]
        runtime_s = sum(self._ended[:workers]) - sum(self._begun)
        computed_s = float(self._spread.compute_s.sum()) * self._stretch
        fixed = Usage(
            invocations=workers + 1,
            function_gib_s=function_gib_s(runtime_s, self._memory_mib),
            gets=2 * workers,
        )
        return SimulatedRun(
            total_s=total_s,
            runtime_s=runtime_s,
            working_s=total_s - ready_s,
            utilisation=computed_s / (total_s - ready_s) / workers,
            usage=fixed + self._counts.usage(self._scheme.billed_bytes),
            counts=self._counts,
        )


Parcels = dict[tuple[int, int], list[Parcel]]


def _parcels(spread: Spread) -> tuple[Parcels, Parcels]:
    """By (step, source), and by (step, target)."""
    sent: Parcels = {}
    wanted: Parcels = {}
    moved = spread.transfers
    columns = (moved.step.tolist(), moved.source.tolist(), moved.target.tolist(), moved.nbytes.tolist())
    for step, source, target, nbytes in zip(*columns, strict=True):
        parcel = Parcel(step, source, target, round(nbytes))
        sent.setdefault((step, source), []).append(parcel)
        wanted.setdefault((step, target), []).append(parcel)
    return sent, wanted
