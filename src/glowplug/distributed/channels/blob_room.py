"""The room of a scheme over an object store: a mark says that a run of its name is open."""

from __future__ import annotations

import abc
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from glowplug.distributed.channels.base import Channel, Room
from glowplug.distributed.channels.blobs import Blobs, Range
from glowplug.distributed.channels.clock import Clock, RealClock
from glowplug.distributed.errors import ChannelMissing, RunExists


class BlobRoom(Room):
    """`blobs` opens the store, once for the room and for each end."""

    def __init__(self, blobs: Callable[[], Blobs], clock: Clock | None = None) -> None:
        super().__init__()
        self._open_blobs = blobs
        self._blobs = blobs()
        self._clock = clock or RealClock()
        self._meter = self._blobs.meter

    def _create(self) -> None:
        mine = secrets.token_hex(16).encode()
        try:
            is_ours = self._blobs.create(self._mark, mine) or self._has(mine)
        except BaseException:  # whoever asked for it does not know whether it was made, or is another's
            with suppress(Exception):
                if self._has(mine):
                    self._blobs.delete([self._mark])
            raise
        if not is_ours:
            raise RunExists(f"run {self.run!r} is open in this store: end it, or use another name")

    def _has(self, mark: bytes) -> bool:
        """Whether that one lies there. A store whose answer was lost is asked again, and then says of our own
        that there is one."""
        return self._blobs.get([Range(self._mark, 0, len(mark))]) == [mark]

    def _end(self, worker: int) -> Channel:
        blobs = self._open_blobs()
        if blobs.get([Range(self._mark, 0, 1)]) == [None]:
            blobs.close()
            raise ChannelMissing(f"run {self.run!r} is not open in this store")
        return self._end_over(worker, blobs)

    def _options(self) -> dict[str, Any]:
        return dict(self._blobs.options())

    @property
    @abc.abstractmethod
    def _mark(self) -> str:
        """The key of an object that lies there while the run is open."""

    @abc.abstractmethod
    def _end_over(self, worker: int, blobs: Blobs) -> Channel: ...
