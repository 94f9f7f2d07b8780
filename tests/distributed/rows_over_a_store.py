"""Workers that share the rows of each layer over an object store, in virtual time: every wait takes what it
takes on paper, whatever else this machine does."""

from __future__ import annotations

import random
from functools import partial

import msgspec

from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.metered.blobs import VirtualBlobs
from glowplug.distributed.channels.metered.cloud import Cloud
from glowplug.distributed.channels.metered.delays import Delays
from glowplug.distributed.channels.metered.virtual_time import VirtualTime
from glowplug.distributed.channels.object import ObjectRoom
from glowplug.distributed.exchange import Exchange
from glowplug.distributed.faults import Faults, FaultyChannel
from glowplug.distributed.frame import Kind, Payload
from glowplug.distributed.phases import Phases
from glowplug.distributed.post import InlinePost, Post, Wire
from glowplug.distributed.relay import RelayPost, Route
from glowplug.distributed.start import Place
from glowplug.distributed.timing import Timing

RUN = "rows"
WORKERS, LAYERS, LINES = 4, 60, (20, 40)
_COMPUTE_S, _RESTART_S = 0.01, 0.15
_DELAYS = Delays(put_s=0.005, get_s=0.004, parallel=16)
_DEADLINE_S = 1000.0


class Ran(msgspec.Struct, frozen=True):
    """`seconds` until the root has everybody's result; `values` of the last layer by worker."""

    seconds: float
    values: dict[int, int]
    meter: Meter
    sent_again: int
    damaged: int


class _Killed(Exception):
    pass


class Rows:
    """Each worker's value of a layer is made of all workers' values of the one before."""

    def __init__(
        self, faults: Faults, kill: tuple[int, int] | None = None, relayed: frozenset[int] = frozenset()
    ) -> None:
        """`kill` is a worker, and the layer before which it ends; `relayed` layers go through the root."""
        self._faults, self._kill, self._relayed = faults, kill, relayed
        self._time = VirtualTime()
        self._room = ObjectRoom(partial(VirtualBlobs, Cloud(self._time, _DELAYS)), clock=self._time)
        self._lines = {worker: (0, worker) for worker in range(WORKERS)}
        self._values: dict[int, int] = {}
        self._exchanges: list[Exchange] = []
        self._meters: list[Meter] = []
        self._ended_s = 0.0

    def run(self) -> Ran:
        with self._time, self._room.open(RUN, WORKERS):
            self._time.run([partial(self._worker, worker) for worker in range(WORKERS)])
        meter = Meter()
        for each in self._meters:
            meter = meter.plus(each)
        again = sum(each.sent_again for each in self._exchanges)
        damaged = sum(each.damaged for each in self._exchanges)
        return Ran(self._ended_s, self._values, meter, again, damaged)

    def _worker(self, worker: int) -> None:
        for incarnation in range(3):
            try:
                self._incarnation(Place(RUN, worker, 0, incarnation))
            except _Killed:
                self._time.sleep(_RESTART_S)
            else:
                return

    def _incarnation(self, place: Place) -> None:
        worker, (first, value) = place.worker, self._lines[place.worker]
        others = [other for other in range(WORKERS) if other != worker]
        post = self._post(place, others, first)
        wrap = lambda: (Kind.BYTES, str(value).encode())  # noqa: E731
        if first:
            post.send(first, [(other, wrap) for other in others])
        for layer in range(first, LAYERS):
            if layer in LINES and layer > first:
                self._lines[worker] = layer, value
                post.done(layer)
            if layer:
                value = _mixed(layer, {worker: value} | post.wait(layer))
            if self._kill == (worker, layer) and not place.incarnation:
                raise _Killed
            self._time.sleep(_COMPUTE_S)
            post.send(layer + 1, [(other, wrap) for other in others])
        self._gather(worker, value, post, others)

    def _gather(self, worker: int, value: int, post: Post, others: list[int]) -> None:
        if worker:
            self._values[worker] = _mixed(LAYERS, {worker: value} | post.wait(LAYERS))
            post.send(LAYERS + 1, [(0, lambda: (Kind.NULL, b""))])
            post.done(LAYERS + 2)
            post.wait_until([0], LAYERS + 2, 6)
        else:
            self._values[worker] = _mixed(LAYERS, {worker: value} | post.wait(LAYERS))
            post.wait(LAYERS + 1)
            self._ended_s = self._time.now_s()
            post.done(LAYERS + 2)

    def _post(self, place: Place, others: list[int], first: int) -> Post:
        end = self._room.end(place.worker)
        self._meters.append(end.meter)
        channel = FaultyChannel(end, self._faults, place, self._time.now_s) if self._faults.disturbs else end
        sources, targets = (dict.fromkeys(range(1, LAYERS + 1), others) for _ in range(2))
        (targets if place.worker else sources)[LAYERS + 1] = [0] if place.worker else others
        route = Route(place.worker, WORKERS, self._relayed, sources, targets)
        exchange = Exchange(
            place, route.sources(), route.targets(), first=route.step(first),
            limit_bytes=channel.limits.max_message_bytes, keep=True,
            looks_are_calls=channel.limits.looks_are_calls, replays=channel.limits.replays,
        )  # fmt: skip
        self._exchanges.append(exchange)
        clock = self._time
        timing = Timing(0.1, channel.limits.slow_s, _DEADLINE_S, clock.now_s, clock.sleep)
        post = InlinePost(Wire(channel, exchange, timing, tells=True), route.opener(_opened), Phases())
        return RelayPost(post, route, _opened, first) if self._relayed else post


def drawn(seed: int, relayed: frozenset[int] = frozenset()) -> Rows:
    """A worker is killed at a layer of its, and messages are lost, damaged, doubled, late and delayed."""
    rng = random.Random(seed)
    faults = Faults(seed=seed, drop=0.01, corrupt=0.01, duplicate=0.05, late=0.05, delay=0.05)
    return Rows(faults, (rng.randrange(WORKERS), rng.randrange(1, LAYERS)), relayed)


def _opened(step: int, source: int, payload: Payload) -> int:
    return int(bytes(payload.body) or b"0")


def _mixed(layer: int, values: dict[int, int]) -> int:
    return hash((layer, *(values[worker] for worker in sorted(values))))
