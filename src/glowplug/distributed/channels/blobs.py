"""Objects by key, as S3 has them: what `object`, `paper_object` and claim checks are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from glowplug.distributed.channels.meter import Meter


class Range(NamedTuple):
    """`length` bytes of an object from `start` on; fewer where it ends before."""

    key: str
    start: int
    length: int


class Blobs(Protocol):
    """All raise ChannelUnavailable after a stated time, ChannelRefused, and ChannelMissing for the bucket or
    folder. Calls of one list run beside each other."""

    meter: Meter
    look_again_s: float
    """So long who waits for an object lets pass after its first look."""
    looks_are_calls: bool
    """Whether it takes a call to learn that an object is not there."""

    def put(self, blobs: Sequence[tuple[str, bytes]]) -> None:
        """Whole and at once, or not: nobody sees a part. What is there is replaced."""

    def create(self, key: str, content: bytes) -> bool:
        """Puts it where nothing is; whether it did. Of any number at once, one does."""

    def glance(self, keys: Sequence[str]) -> set[str]:
        """Those of them that may be there, as far as can be told without a call."""

    def get(self, ranges: Sequence[Range]) -> list[bytes | None]:
        """None for each whose object is not there."""

    def list(self, prefix: str) -> list[str]:
        """The keys below a folder, `prefix` and a slash."""

    def delete(self, keys: Sequence[str]) -> None:
        """Those that are there."""

    def clear(self, prefix: str, but: str = "") -> None:
        """Deletes all but one key below a folder, and what writers that were killed left unfinished there.
        Nobody may be writing."""

    def close(self) -> None: ...

    def options(self) -> dict[str, object]:
        """What makes the same in another process; no credentials."""
