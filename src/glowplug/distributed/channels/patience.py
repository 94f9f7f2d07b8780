"""How long to let a layer's messages gather before the first poll. Pure.

A layer cannot go on before its last message, and a poll is paid whether it brings ten messages or one. So the
first poll waits until almost when the last message came in the layers before, the sooner of the last two, and
less each time that this was long enough. Whoever waits is late for the others, who learn to wait for it: a
share near one of what was learned adds up (0.9: to nine times what workers differ by), and so would what
came late once, as all do for workers that are started after others. What one source alone sends comes
together, and gathers nothing.
"""

from __future__ import annotations

_SHORTER = 0.8


class Patience:
    def __init__(self) -> None:
        self._layer: tuple[int, int] | None = None
        self._begun_s = 0.0
        self._wait_s = 0.0
        self._learned_s = 0.0
        self._last_s = 0.0
        self._late = False
        self._alone = False

    def begins(self, layer: tuple[int, int], now_s: float, *, alone: bool = False) -> bool:
        """Whether this is the first that is asked about a layer, which has one source if `alone`."""
        if self._layer is not None and layer <= self._layer:
            return False
        if not self._alone:
            learned_s = self._last_s if self._late else self._wait_s
            self._wait_s = _SHORTER * min(learned_s, self._learned_s)
            self._learned_s = learned_s
        self._layer, self._begun_s, self._last_s, self._late = layer, now_s, 0.0, False
        self._alone = alone
        return True

    @property
    def poll_at_s(self) -> float:
        return self._begun_s + (0.0 if self._alone else self._wait_s)

    def came(self, now_s: float, late: bool) -> None:
        """Messages, at the first polls or `late`, at one after them."""
        self._last_s = now_s - self._begun_s
        self._late |= late
