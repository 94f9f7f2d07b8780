"""AWS Lambda as the platform of a run: a function for each worker, heard of by what it leaves in the store.

Nobody can end a function from outside, nor is told when one dies: one that gives no sign is gone
(`pulse.py`), and one that another took over for, or whose run is over, reads so and ends itself. What an
earlier epoch's do until then is fenced off by the channel; what they leave in the store is removed after it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from glowplug.distributed.aws_lambda.baggage import Baggage, Roll
from glowplug.distributed.aws_lambda.pulse import BEAT_S, STARTED_S, Pulses
from glowplug.distributed.aws_lambda.summons import Summons, send
from glowplug.distributed.channels.blobs import Blobs
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.deploying import Deployed
from glowplug.distributed.orders import ROOT
from glowplug.distributed.platform import Ended, Event
from glowplug.distributed.platform_line import Launch, Response
from glowplug.distributed.start import Place, Start

_LOOK_S = 0.5
_MARGIN_S = 2.0
"""So long after a beat may who was let go still write."""
_LOOK_SHARE = 0.02
"""How often the store is asked, a paid LIST each: after so long, or this share of the run's time so far."""


class Cloud(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run's functions are: all but what each is told."""

    client: Any
    function: str
    endpoint: str | None
    region: str | None
    branching: int | None
    beat_s: float = BEAT_S
    started_s: float = STARTED_S


class LambdaPlatform:
    """`platform.Platform`. Not for several threads. Brings what workers read into the store first, and
    removes it in `close`. Raises ChannelError, PlatformError and RunExists."""

    def __init__(
        self,
        cloud: Cloud,
        deployed: Deployed,
        blobs: Blobs,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cloud, self._blobs, self._clock, self._sleep = cloud, blobs, clock, sleep
        self._result, self._workers = Path(deployed.orders.result), deployed.orders.workers
        self._token = secrets.token_hex(4)
        self._baggage = Baggage(blobs, deployed.orders.run, self._token)
        self._pulses = Pulses(self._baggage, cloud.beat_s, cloud.started_s, clock)
        self._roll = Roll()
        self._running: dict[Place, float] = {}
        self._launchers: dict[Place, Place] = {}
        self._pending: list[Event] = []
        self._stayed: set[Place] = set()
        self._heard: set[str] = set()
        self._all_gone_s = clock()
        self._began_s = clock()
        self._baggage.bring(deployed)

    @property
    def meter(self) -> Meter:
        return self._blobs.meter

    def begin(self, start: Start) -> None:
        """The first workers by a call of ours, those below them by theirs. Where a run begins again, each
        begins at a line of its own, so all calls are ours."""
        place = start.place
        self._let_go_before(place)
        self._running[place] = self._clock()
        if not place.incarnation:
            self._pending += [(place, Launch(worker)) for worker in start.launches]
        launches = self._launches(start)
        self._launchers.update({Place(place.run, worker): place for worker in launches})
        if place not in self._launchers:
            sent = msgspec.structs.replace(start, orders="", launches=launches)
            send(self._cloud.client, self._summons(sent))

    def events(self, timeout_s: float) -> list[Event]:
        if self._pending:
            found, self._pending = self._pending, []
            return found
        until_s = self._clock() + timeout_s
        while not (found := self._said() or self._silent()) and (left_s := until_s - self._clock()) > 0:
            look_s = max(_LOOK_S, _LOOK_SHARE * (self._clock() - self._began_s))
            self._sleep(min(look_s, left_s))
        return found

    def end_all(self) -> list[Event]:
        """Lets go of them: each runs, and is billed, until it looks the next time. If all have told what they
        did, and stayed for others, they leave by themselves, and are heard."""
        ended: list[Event] = []
        until_s = self._clock() + self._cloud.beat_s
        while self._running and self._running.keys() <= self._stayed and self._clock() < until_s:
            ended += [event for event in self._said() if isinstance(event[1], Ended)]
            if self._running:
                self._sleep(_LOOK_S)
        if self._running:
            self._let_go()
        for place in list(self._running):
            ended.append((place, Ended("was let go", self._ran_s(place) + self._cloud.beat_s, 0)))
        self._pending.clear()
        return ended

    def close(self) -> None:
        """Waits until whoever was let go has read so: what they write until then would stay."""
        try:
            left_s = self._all_gone_s - self._clock()
            if left_s > 0:
                self._baggage.let_go()
                self._sleep(left_s)
        finally:
            self._baggage.remove()
            self._blobs.close()

    def _let_go(self) -> None:
        self._all_gone_s = self._clock() + self._cloud.beat_s + _MARGIN_S

    def _let_go_before(self, place: Place) -> None:
        """Of those that it takes over for."""
        if place.epoch > self._roll.epoch:
            self._roll = Roll(place.epoch)
        elif place.incarnation:
            incarnations = {**self._roll.incarnations, place.worker: place.incarnation}
            self._roll = Roll(place.epoch, incarnations)
        else:
            return
        self._baggage.call(self._roll)
        self._let_go()

    def _launches(self, start: Start) -> tuple[int, ...]:
        """Whom it is to launch. Whoever takes over launches those that the one before it did not come to."""
        place = start.place
        if place.epoch:
            return ()
        if not place.incarnation:
            return start.launches
        before = msgspec.structs.replace(place, incarnation=place.incarnation - 1)
        if self._pulses.has_begun(before):
            return ()
        below = {worker: Place(place.run, worker) for worker in start.launches}
        return tuple(
            worker
            for worker, each in below.items()
            if each in self._running and not self._pulses.has_begun(each)
        )

    def _said(self) -> list[Event]:
        found: list[Event] = []
        for word in self._baggage.words(self._heard):
            place, told = word.place, word.told
            if place not in self._running:
                continue
            response = told if isinstance(told, Response) else None
            if response is not None and place.worker == ROOT:
                self._baggage.take_result(self._result)
            if told is not None:
                found.append((place, told))
            if response is not None and response.keeps:
                self._stayed.add(place)
            else:
                del self._running[place]
                found.append((place, Ended("ended", word.ran_s, response.peak_bytes if response else 0)))
        return found

    def _silent(self) -> list[Event]:
        lost = self._pulses.lost(self._running, self._launchers) if self._running else {}
        return [(place, Ended(how, self._ran_s(place), 0)) for place, how in lost.items()]

    def _ran_s(self, place: Place) -> float:
        """Of one that does not any more."""
        return self._clock() - self._running.pop(place)

    def _summons(self, start: Start) -> Summons:
        cloud = self._cloud
        return Summons(
            start=start, workers=self._workers, branching=cloud.branching, function=cloud.function,
            endpoint=cloud.endpoint, region=cloud.region, store=dict(self._blobs.options()),
            beat_s=cloud.beat_s, token=self._token,
        )  # fmt: skip
