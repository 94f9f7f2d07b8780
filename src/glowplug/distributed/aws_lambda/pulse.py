"""Signs of life by way of the store: nobody is told when a function dies, and nobody can end one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping

from glowplug.core.errors import GlowplugError
from glowplug.distributed.aws_lambda.baggage import Baggage
from glowplug.distributed.start import Place

BEAT_S = 10.0
"""A paid PUT and a GET for each worker."""
MISSED = 3
"""So many beats without a sign, and a function is gone."""
STARTED_S = 90.0
"""An event may wait for 60 s (`function.py`), and a function's first start takes a while, before its first
sign. Who is given up sooner may begin beside who takes over, and launch once more what that one launched."""


class Pulse:
    """A worker's side: a thread that gives signs until `stop`, and ends this process when the run is over, or
    another has taken over."""

    def __init__(self, baggage: Baggage, place: Place, beat_s: float) -> None:
        self._baggage, self._place, self._beat_s = baggage, place, beat_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _beat(self) -> None:
        number = 0
        while True:
            try:
                if not self._baggage.wants(self._place):
                    os._exit(1)
                self._baggage.beat(self._place, number)
            except GlowplugError:
                pass  # the store may be there again for the next
            number += 1
            if self._stopped.wait(self._beat_s):
                return


class Pulses:
    """Those of all workers, as whoever started the run sees them."""

    def __init__(
        self, baggage: Baggage, beat_s: float, started_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._baggage, self._beat_s, self._started_s, self._clock = baggage, beat_s, started_s, clock
        self._seen: dict[Place, tuple[bytes | None, float]] = {}
        self._looked_s = -beat_s

    def has_begun(self, place: Place) -> bool:
        """Whether it ever gave a sign."""
        return self._seen.get(place, (None, 0.0))[0] is not None

    def lost(self, running: Collection[Place], launchers: Mapping[Place, Place]) -> dict[Place, str]:
        """Who gave no sign for too long, and how. Who is launched by one that did not begin is not late yet:
        one event that is lost costs one worker. Asks the store once a beat."""
        now_s = self._clock()
        for place in running:
            self._seen.setdefault(place, (None, now_s))
        if now_s - self._looked_s < self._beat_s:
            return {}
        self._looked_s = now_s
        for place, beat in self._baggage.beats(running).items():
            if beat != self._seen[place][0]:
                self._seen[place] = beat, now_s
        for place in running:
            launcher = launchers.get(place)
            if launcher is None or launcher not in running:
                continue
            if not (self.has_begun(place) or self.has_begun(launcher)):
                self._seen[place] = None, now_s
        return {
            place: f"gave no sign for {limit_s:g} s"
            for place in running
            if now_s - self._seen[place][1] > (limit_s := self._limit_s(place))
        }

    def _limit_s(self, place: Place) -> float:
        return self._started_s if self._seen[place][0] is None else MISSED * self._beat_s
