"""How long silence lasts before a worker looks whether something is wrong, and before it asks again for what
it misses. Pure.
"""

from __future__ import annotations

from collections import deque

_LAYERS = 15
"""So many of the last tell the pace: half of them may have been disturbed."""
SILENT = 3
"""Times the typical layer: a message that took so long was lost, or its sender waits for one that was."""


class StallTime:
    """Follows the pace of a run: `seconds` is a multiple of the median time from layer to layer, no less than
    `floor_s` and no more than `most_s`; `quiet_s` what the quicker quarter of layers takes, since to look is
    no request, and who looks as late as disturbed layers come is what makes them late. `first_s` holds until
    two layers were seen."""

    def __init__(self, first_s: float, floor_s: float, most_s: float) -> None:
        self.seconds = first_s
        self.quiet_s = first_s / SILENT
        self._floor_s, self._most_s = floor_s, most_s
        self._layers: deque[float] = deque(maxlen=_LAYERS)
        self._last_s: float | None = None

    def came(self, now_s: float) -> None:
        """All of a layer is there."""
        if self._last_s is not None:
            self._layers.append(now_s - self._last_s)
            ordered = sorted(self._layers)
            self.seconds = self._bounded(SILENT * ordered[len(ordered) // 2])
            self.quiet_s = self._bounded(SILENT * ordered[len(ordered) // 4]) / SILENT
        self._last_s = now_s

    def _bounded(self, seconds: float) -> float:
        return min(self._most_s, max(self._floor_s, seconds))
