"""Which requests a gateway has in workers, in memory that outlives it: whoever made the gateway looks there
when it was killed, for what nobody waits for any more.

The memory is a sealed memfd of the maker's, who never maps it but reads. An entry is an instance and a
request, in this order, so that one half of which is written says nothing.
"""

from __future__ import annotations

import mmap
import os
import struct
from functools import partial

from glowplug.core.ids import InstanceId, RequestId
from glowplug.transport.connection import Body, OnAnswer, Reply
from glowplug.transport.frames import RequestMeta
from glowplug.transport.gateway_side import WorkerConnections
from glowplug.transport.shared_memory import create_region

KEPT = 16 * 1024
"""Requests that can be noted at once; those beyond are not, and run to their end when their gateway is
killed."""
_ENTRY = struct.Struct("<QQ")
_NONE = -1


class OpenRequests:
    """The maker's side, which owns `descriptor`, to be sent to the gateway. Raises OSError."""

    def __init__(self) -> None:
        self.descriptor = create_region(KEPT * _ENTRY.size)

    def read(self) -> list[tuple[RequestId, InstanceId]]:
        """What is in workers at this moment; when its gateway is gone, what was then."""
        data = os.pread(self.descriptor, KEPT * _ENTRY.size, 0)
        return [
            (RequestId(request), InstanceId(instance))
            for instance, request in _ENTRY.iter_unpack(data)
            if request
        ]

    def close(self) -> None:
        os.close(self.descriptor)


class OpenNotes:
    """The gateway's side; it closes `descriptor`."""

    def __init__(self, descriptor: int) -> None:
        try:
            self._map = mmap.mmap(descriptor, KEPT * _ENTRY.size)
        finally:
            os.close(descriptor)
        self._free = list(range(KEPT - 1, -1, -1))

    def add(self, request: RequestId, instance: InstanceId) -> int:
        """Notes a request that is about to be sent; returns where."""
        if not self._free:
            return _NONE
        place = self._free.pop()
        _ENTRY.pack_into(self._map, place * _ENTRY.size, instance, request)
        return place

    def remove(self, place: int) -> None:
        """It was answered."""
        if place != _NONE:
            _ENTRY.pack_into(self._map, place * _ENTRY.size, 0, 0)
            self._free.append(place)


class NotedConnections(WorkerConnections):
    """Workers' connections of a gateway that may be killed alone."""

    def __init__(self, notes: OpenNotes, max_body_bytes: int) -> None:
        super().__init__(max_body_bytes)
        self._notes = notes

    def send(
        self, instance: InstanceId, request: RequestId, meta: RequestMeta, body: Body, on_answer: OnAnswer
    ) -> None:
        place = self._notes.add(request, instance)
        try:
            super().send(instance, request, meta, body, partial(self._heard, place, on_answer))
        except BaseException:
            self._notes.remove(place)
            raise

    def _heard(self, place: int, on_answer: OnAnswer, answer: Reply | bytes) -> None:
        if isinstance(answer, Reply) and not answer.stream:
            self._notes.remove(place)
        on_answer(answer)
