"""From a journal's segments to what became of one request, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from glowplug.control.explaining.watch import Watch
from glowplug.control.journal import Entry, commands_crc, entries_of, payloads, state_of
from glowplug.control.state import ControlState
from glowplug.core.errors import UNREADABLE, Unavailable
from glowplug.core.events import RequestArrived
from glowplug.core.explanation import Explanation
from glowplug.core.ids import RequestId


class _Store(msgspec.Struct):
    events: int


class _Snapshot(msgspec.Struct):
    """As much of it as tells when it was taken."""

    store: _Store


def explain(segments: Sequence[bytes], request: RequestId) -> Explanation | None:
    """What `segments`, oldest first, say about a request: their events are handled again, up to its end.
    None if they do not contain it: a gateway sent it under a lease, or it is older than what is kept.

    Raises Unavailable when another version of Glowplug wrote them."""
    for number, data in enumerate(segments):
        if _begins_in(data, request):
            return _handled_again(data, segments[number + 1 :], request)
    return None


def _begins_in(data: bytes, request: RequestId) -> bool:
    """A segment of another version does not stand in the way of those after it."""
    needle = msgspec.msgpack.encode(request)
    with suppress(Unavailable):
        return needle in data and any(
            isinstance(entry.event, RequestArrived) and entry.event.request == request
            for entry in entries_of(data, needle)
        )
    return False


def _handled_again(data: bytes, later: Sequence[bytes], request: RequestId) -> Explanation | None:
    """A segment continues where the one before it ended, so its snapshot is not needed, unless another
    server began it."""
    state = state_of(next(payloads(data)))
    watch = Watch(state.context, request)
    for segment in (data, *later):
        if segment is not data and _events_before(segment) != state.context.store.events:
            watch.cut_off()
            break
        for entry in entries_of(segment):
            _step(state, watch, entry)
            if watch.is_over:
                return watch.explanation()
    return watch.explanation() if watch.has_begun else None


def _events_before(data: bytes) -> int:
    """How many events its controller had handled when the segment began; -1 if the segment is damaged."""
    try:
        return msgspec.msgpack.decode(next(payloads(data), b""), type=_Snapshot).store.events
    except UNREADABLE:
        return -1


def _step(state: ControlState, watch: Watch, entry: Entry) -> None:
    watch.before(entry.event, entry.now_s)
    commands = state.handle(entry.event, entry.now_s)
    watch.after(entry.event, commands)
    if watch.has_begun and commands_crc(commands) != entry.commands_crc:
        watch.warn(f"{type(entry.event).__name__} at {entry.now_s:.6f} led to other commands then")
