"""What may go wrong on the way from a store, drawn so that a run can be repeated."""

from __future__ import annotations

import enum
import random
import threading
from collections import Counter
from collections.abc import Mapping

import msgspec


class Fault(enum.Enum):
    RESET = "reset"
    """The connection breaks after some bytes."""
    STALL = "stall"
    """After some bytes nothing more comes."""
    SHORT = "short"
    """The answer is over after some bytes."""
    LONG = "long"
    """The answer has more bytes than were asked for."""
    FLIP = "flip"
    """One bit arrives changed."""
    FORBIDDEN = 403
    MISSING = 404
    UNSATISFIABLE = 416
    BROKEN = 500


class Faults(msgspec.Struct, frozen=True):
    """`rates`: the share of reads that a fault strikes. `at`: a fault strikes the first read of that byte."""

    rates: Mapping[Fault, float] = {}
    at: Mapping[int, Fault] = {}

    def __post_init__(self) -> None:
        if any(rate < 0 for rate in self.rates.values()) or sum(self.rates.values()) > 1:
            raise ValueError(f"rates are shares of all reads: {dict(self.rates)} are none")


NO_FAULTS = Faults()


class Fate(msgspec.Struct, frozen=True):
    """What becomes of one read: `fault` after `done_bytes` (or, for a flip, in that byte), or none.

    `jitter` is between 0 and 1.
    """

    fault: Fault | None = None
    done_bytes: int = 0
    jitter: float = 0.0


NO_FATE = Fate()


class Fates:
    """Draws by seed, range and how often that range was read: threads may come in any order."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self._rates = list(faults.rates.items())
        self._seed = seed
        self._waiting = dict(faults.at)
        self._visits: Counter[tuple[int, int]] = Counter()
        self._lock = threading.Lock()

    def next(self, offset: int, length: int) -> Fate:
        with self._lock:
            self._visits[offset, length] += 1
            visit = self._visits[offset, length]
            place = min((at for at in self._waiting if offset <= at < offset + length), default=None)
            struck = None if place is None else self._waiting.pop(place)
        drawn = random.Random(f"{self._seed} {offset} {length} {visit}")
        jitter, chance, share = drawn.random(), drawn.random(), drawn.random()
        if place is not None:
            return Fate(struck, place - offset, jitter)
        for fault, rate in self._rates:
            if chance < rate:
                return Fate(fault, int(share * length), jitter)
            chance -= rate
        return Fate(jitter=jitter)
