"""When to ask for an object that is not there yet: seldom where that costs a call, and soon after it is.
Pure.
"""

from __future__ import annotations

from enum import Enum, auto

FIRST_S = 0.01
MOST, MOST_FREE = 10, 4
"""Times the first wait is the longest; where looks cost no call."""
_GROWTH, _STEPS = 1.6, 20
"""Of waits from miss to miss; after so many they have long been the longest."""
_EARLIER = 0.5
"""Of what was waited in vain, when an object was there at the first try: it may have been there for long."""
_NOTHING = (0.0, 0.0)
_LATER, _NOTE = 3, 1
"""What tells whether its source went on is there at the first look or not for long: the next is as after so
many misses. A note is there about when one looks for it first, and there are many to look for."""
_RECHECK = 8
"""A source that was replaced may have put its layer into other parts than the one before it."""


class Role(Enum):
    """What an object is to who looks for it: of the layer that it waits for; the answer to what it asked,
    which takes its time; a note, which may be there for long; of a later layer, which tells whether its
    source went on."""

    LAYER = auto()
    ANSWER = auto()
    NOTE = auto()
    LATER = auto()


class Pace:
    """When to look for a layer's objects. Layers of a plan are alike, and the same workers come late. So the
    first try is at the time when the objects of the last two layers were still missing for the last time, the
    sooner of both. A worker that was late only once makes nobody wait: otherwise one late worker would delay
    the others, those would learn to wait, and no worker would get fast again. Where looks cost no call, the
    first is at once."""

    def __init__(self, first_s: float = FIRST_S, *, looks_are_calls: bool = True) -> None:
        self._first_s = first_s
        self._most_s = (MOST if looks_are_calls else MOST_FREE) * first_s
        self._looks_are_calls = looks_are_calls
        self._missing_s: dict[int, tuple[float, float]] = {}

    def expect(self, source: int, now_s: float, role: Role = Role.LAYER) -> Expected:
        first_s = 0.0
        if role is Role.LAYER:
            first_s = self._first_try_s(source)
        elif role is Role.ANSWER and self._looks_are_calls:
            first_s = self._first_s
        return Expected(source, now_s, now_s + first_s, role)

    def missed(self, expected: Expected, asked_s: float, now_s: float) -> None:
        seldom = {Role.LATER: _LATER, Role.NOTE: _NOTE}.get(expected.role, 0) if self._looks_are_calls else 0
        wait_s = min(self._most_s, self._first_s * _GROWTH ** min(_STEPS, expected.misses + seldom))
        expected.missing_s = asked_s - expected.since_s
        expected.misses += 1
        expected.due_s = now_s + wait_s
        if expected.misses % _RECHECK == 0:
            expected.part = 0

    def resumed(self, expected: Expected, now_s: float, role: Role) -> None:
        """It was not waited for meanwhile, or as something else, so what was missed says nothing."""
        expected.since_s = expected.due_s = now_s
        expected.misses = 0
        expected.role = role

    def found(self, expected: Expected, now_s: float, *, learns: bool) -> None:
        """The next part, if there must be one, is asked for at once."""
        if expected.part == 0 and learns and self._looks_are_calls:
            vain_s = _EARLIER * self._first_try_s(expected.source)
            missing_s = expected.missing_s if expected.misses else vain_s
            self._missing_s[expected.source] = (self._missing_s.get(expected.source, _NOTHING)[1], missing_s)
        expected.part += 1
        expected.misses = 0
        expected.due_s = now_s

    def _first_try_s(self, source: int) -> float:
        return min(self._missing_s.get(source, _NOTHING))

    def rejected(self, expected: Expected, now_s: float) -> None:
        """Damaged on its way: reading it again helps. Or in the store: a later part may be whole."""
        turn, again = divmod(expected.rejections, 2)
        expected.part = turn + 1 if again else 0
        expected.rejections += 1
        expected.due_s = now_s


class Expected:
    """One source's object that is waited for. `part` is 0 unless a layer was sent in several calls."""

    def __init__(self, source: int, since_s: float, due_s: float, role: Role) -> None:
        self.source = source
        self.role = role
        self.since_s = since_s
        self.due_s = due_s
        self.missing_s = 0.0
        self.misses = 0
        self.rejections = 0
        self.part = 0
