"""Workers without processes: exchanges over a bag of messages that loses, repeats, damages and reorders
them."""

from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec
import xxhash

from glowplug.distributed.channels.base import MessageKey
from glowplug.distributed.channels.inbox import Inbox
from glowplug.distributed.errors import ReplayImpossible
from glowplug.distributed.exchange import ATTEMPTS, Exchange
from glowplug.distributed.frame import Kind
from glowplug.distributed.notes import MOST_INCARNATIONS
from glowplug.distributed.start import Place

Sources = Mapping[int, Mapping[int, tuple[int, ...]]]
"""worker -> its steps -> who sends for them."""


class Plan(msgspec.Struct, frozen=True):
    """`sources` by worker and step; a worker checkpoints before each line that it reaches."""

    sources: dict[int, dict[int, tuple[int, ...]]]
    lines: tuple[int, ...]

    def steps(self, worker: int) -> list[int]:
        return sorted(self.sources[worker])

    def sends(self, worker: int, after: int) -> list[tuple[int, int]]:
        """(step, target) of what a worker sends when its step `after` is done."""
        following = next((step for step in self.steps(worker) if step > after), 10**6)
        return [
            (step, target)
            for target, steps in self.sources.items()
            for step, who in sorted(steps.items())
            if worker in who and after < step <= following
        ]

    def targets(self, worker: int) -> dict[int, tuple[int, ...]]:
        found: dict[int, tuple[int, ...]] = {}
        for after in self.steps(worker):
            for step, target in self.sends(worker, after):
                found[step] = (*found.get(step, ()), target)
        return found


def random_plan(rng: random.Random, workers: int, steps: int) -> Plan:
    """Each worker has some of the steps; those that finished an earlier one may send for a later one."""
    mine = {worker: sorted(rng.sample(range(steps), rng.randint(1, steps))) for worker in range(workers)}
    sources = {
        worker: {
            step: tuple(
                other
                for other in range(workers)
                if other != worker and mine[other][0] < step and rng.random() < 0.7
            )
            for step in mine[worker]
        }
        for worker in range(workers)
    }
    return Plan(sources, tuple(range(0, steps, rng.choice((1, 2, 3, steps)))))


def outcome(plan: Plan) -> dict[int, int]:
    """What each worker has in the end, computed without messages."""
    values = {worker: {-1: worker} for worker in plan.sources}
    for step in sorted({step for steps in plan.sources.values() for step in steps}):
        for worker, steps in plan.sources.items():
            if step in steps:
                came = [_before(values[source], step) for source in sorted(steps[step])]
                values[worker][step] = mixed(step, _before(values[worker], step), came)
    return {worker: mine[max(mine)] for worker, mine in values.items()}


def _before(values: dict[int, int], step: int) -> int:
    return values[max(known for known in values if known < step)]


def mixed(step: int, own: int, came: list[int]) -> int:
    return xxhash.xxh3_64_intdigest(repr((step, own, came)).encode())


class Worker:
    """One incarnation: an exchange, an end of a channel, and the value that it computes."""

    def __init__(self, world: World, place: Place, first: int, value: int) -> None:
        self.world, self.place, self.value = world, place, value
        self.left = [step for step in world.plan.steps(place.worker) if step >= first]
        self.exchange = Exchange(
            place, world.plan.sources[place.worker], world.plan.targets(place.worker),
            first=first, limit_bytes=40, keep=world.keep, replays=world.replays,
        )  # fmt: skip
        self.inbox = Inbox()
        self.inbox.fence(place.epoch * ATTEMPTS, first)
        if world.replays:
            for key, message in world.accepted[place.worker]:
                self.inbox.put(key, message)
        elif place.incarnation:
            world.post(self.exchange.rejoin())
        earlier = [step for step in world.plan.steps(place.worker) if step < first]
        if earlier:
            self._send(earlier[-1])

    def look(self) -> None:
        wanted = self.exchange.wanted_notes()
        if self.left:
            wanted |= self.exchange.wanted(self.left[0]) | self.exchange.wanted_ahead(self.left[0])
        self.world.post(self.exchange.deliver(self.inbox.take(wanted)))
        self.inbox.reject(self.exchange.take_rejected())

    def advance(self) -> bool:
        """Computes the next step when all of it is there."""
        self.look()
        if not self.left or self.exchange.missing(self.left[0]):
            return False
        step = self.left.pop(0)
        if step in self.world.plan.lines:
            self._checkpoint(step)
        came = [int(bytes(each.body)) for each in self.exchange.take(step).values()]
        self.value = mixed(step, self.value, came)
        self._send(step)
        return True

    def ask_again(self) -> None:
        self.look()
        if self.left:
            self.world.post(self.exchange.ask_again(self.left[0]))

    def ask_overtaken(self) -> None:
        self.look()
        if self.left:
            self.world.post(self.exchange.ask_overtaken(self.left[0]))

    def _checkpoint(self, step: int) -> None:
        self.world.checkpoints[self.place.worker][step] = self.value
        self.world.post(self.exchange.done(step))
        self.inbox.fence(self.place.epoch * ATTEMPTS, step)

    def _send(self, after: int) -> None:
        body = str(self.value).encode().rjust(60)
        for step, target in self.world.plan.sends(self.place.worker, after):
            self.world.post(self.exchange.send(step, target, Kind.BYTES, body))


class World:
    """Messages are under way until `arrive` is called. ReplayImpossible sends all back to a common line."""

    def __init__(self, plan: Plan, *, replays: bool, keep: bool) -> None:
        self.plan, self.replays, self.keep = plan, replays, keep
        self.flying: list[tuple[MessageKey, bytes]] = []
        self.accepted: dict[int, list[tuple[MessageKey, bytes]]] = {worker: [] for worker in plan.sources}
        self.checkpoints = {worker: {0: worker} for worker in plan.sources}
        self.epoch = 0
        self.workers: dict[int, Worker] = {}
        for worker in plan.sources:
            self._begin(worker, 0, 0)

    def post(self, messages: list[tuple[MessageKey, bytes]]) -> None:
        self.flying += messages

    def arrive(self, at: int, *, damage: bool = False, repeat: bool = False) -> None:
        key, message = self.flying[at]
        if not repeat:
            del self.flying[at]
        if damage:
            message = message[:-1] + bytes([message[-1] ^ 1])
        self.accepted[key.target].append((key, message))
        self.workers[key.target].inbox.put(key, message)

    def kill(self, worker: int) -> None:
        """It is gone with all that it held; another takes over from its last checkpoint."""
        incarnation = self.workers[worker].place.incarnation + 1
        if incarnation == MOST_INCARNATIONS:
            self._go_back()
            return
        self.guarded(lambda: self._begin(worker, max(self.checkpoints[worker]), incarnation))

    def guarded(self, work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except ReplayImpossible:
            self._go_back()

    def finish(self) -> None:
        """From here on nothing goes wrong."""
        for _ in range(2 * ATTEMPTS):
            while self.flying:
                self.arrive(0)
                for worker in self.workers.values():
                    self.guarded(worker.look)
            moved = False
            for worker in list(self.workers.values()):
                while worker is self.workers[worker.place.worker] and worker.left:
                    before = len(worker.left)
                    self.guarded(worker.advance)
                    if len(worker.left) == before:
                        break
                    moved = True
            if not any(worker.left for worker in self.workers.values()):
                return
            if not moved and not self.flying:
                for worker in list(self.workers.values()):
                    if worker is self.workers[worker.place.worker]:
                        self.guarded(worker.ask_again)
        raise AssertionError("the workers do not come to an end")

    def validate(self) -> None:
        for worker in self.workers.values():
            worker.exchange.validate()
            worker.inbox.validate()

    def _begin(self, worker: int, line: int, incarnation: int) -> None:
        place = Place("run", worker, self.epoch, incarnation)
        self.workers[worker] = Worker(self, place, line, self.checkpoints[worker][line])

    def _go_back(self) -> None:
        """All of a worker's checkpoints stay until the end, so the least of the last is one that each has."""
        self.epoch += 1
        line = min(max(lines) for lines in self.checkpoints.values())
        for worker, lines in self.checkpoints.items():
            self._begin(worker, max(each for each in lines if each <= line), 0)
