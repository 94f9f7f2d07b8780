"""How much of an object's beginning to read at first: index and, mostly, one's own part. Pure.

Too little costs a second read, which takes longer than some more bytes do.
"""

from __future__ import annotations

from math import ceil

READ_BYTES = 64 * 1024
"""Before anything is known of how large they are."""
MOST_READ_BYTES = 128 * 1024
"""Where parts lie further on, reading up to there takes longer than to read the index and then the part."""
PAGE_BYTES = 4096
MARGIN = 1.25
"""Layers grow."""
_LAYERS = 2


class Reach:
    """As far as the parts went in the last layers, of whatever source: each layer's are read a few at a time,
    and the last few are not like the others."""

    def __init__(self) -> None:
        self._layers: dict[int, int] = {}

    @property
    def first_bytes(self) -> int:
        return max(self._layers.values(), default=READ_BYTES)

    def found(self, layer: int, index_bytes: int, end: int) -> None:
        """A part ends at byte `end` of its object."""
        wanted = end * MARGIN if end <= MOST_READ_BYTES else index_bytes
        pages = ceil(wanted / PAGE_BYTES) * PAGE_BYTES
        self._layers[layer] = max(pages, self._layers.get(layer, 0))
        for earlier in sorted(self._layers)[:-_LAYERS]:
            del self._layers[earlier]
