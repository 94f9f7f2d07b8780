"""How long a worker waits in silence before it asks again for what it misses. Pure."""

from __future__ import annotations

import statistics
from collections import deque

_LAYERS = 15
"""So many of the last tell the pace: half of them may have been disturbed."""
SILENT = 3
"""Times the typical layer: a message that took so long was lost, or its sender waits for one that was."""


class StallTime:
    """Follows the pace of a run: a multiple of the median time from layer to layer, no less than `floor_s`
    and no more than `most_s`. `first_s` holds until two layers were seen."""

    def __init__(self, first_s: float, floor_s: float, most_s: float) -> None:
        self.seconds = first_s
        self._floor_s, self._most_s = floor_s, most_s
        self._layers: deque[float] = deque(maxlen=_LAYERS)
        self._last_s: float | None = None

    def came(self, now_s: float) -> None:
        """All of a layer is there."""
        if self._last_s is not None:
            self._layers.append(now_s - self._last_s)
            typical_s = statistics.median(self._layers)
            self.seconds = min(self._most_s, max(self._floor_s, SILENT * typical_s))
        self._last_s = now_s
