"""What a stream yielded, on the caller's side: bytes in, items out, as they come. Without any I/O."""

from __future__ import annotations

import codecs
from typing import Any

import msgspec

from glowplug.core.bodies import EVENTS, LINES, TEXT
from glowplug.core.errors import GlowplugError, from_code


class _Failure(msgspec.Struct, forbid_unknown_fields=True):
    code: str
    message: str
    field: str | None = None


class _Broken(msgspec.Struct, forbid_unknown_fields=True):
    error: _Failure


_as_failure = msgspec.json.Decoder(_Broken).decode


def is_stream(content_type: str) -> bool:
    """Whether a body of this type is items, one after another."""
    return _kind(content_type) in (LINES, EVENTS)


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


class ItemDecoder:
    """Lines and events become their values, text comes in pieces, and all else as bytes.

    The last line of a stream that broke off may be its error, which a whole stream's last line may look like:
    a line that does is held back until more comes, `finish` gives it out, and `broken` reads it.
    """

    def __init__(self, content_type: str) -> None:
        kind = _kind(content_type)
        self._separator = {LINES: b"\n", EVENTS: b"\n\n"}.get(kind)
        self._is_events = kind == EVENTS
        self._text = codecs.getincrementaldecoder("utf-8")("replace") if kind == TEXT else None
        self._rest = b""
        self._held: bytes | None = None

    def feed(self, data: bytes) -> list[Any]:
        """The items that `data` completes. Raises the error that an event tells of."""
        if self._separator is None:
            piece: Any = data if self._text is None else self._text.decode(data)
            return [piece] if piece else []
        *whole, self._rest = (self._rest + data).split(self._separator)
        items = []
        for line in whole:
            if self._is_events:
                line = _event(line)
            if line:
                items += self._give_held()
                if line.startswith(b'{"error"') and _failure(line) is not None:
                    self._held = line
                else:
                    items.append(msgspec.json.decode(line))
        return items

    def finish(self) -> list[Any]:
        """The items that were held back. Raises ValueError when the stream ended in the middle of one."""
        if self._rest:
            raise ValueError(f"the stream ended in the middle of an item: {self._rest[:80]!r}")
        return self._give_held()

    def broken(self) -> GlowplugError | None:
        """The error that a stream ended with, if it said so."""
        return None if self._held is None else _failure(self._held)

    def _give_held(self) -> list[Any]:
        held, self._held = self._held, None
        return [] if held is None else [msgspec.json.decode(held)]


def _failure(line: bytes) -> GlowplugError | None:
    try:
        failure = _as_failure(line).error
    except msgspec.MsgspecError:
        return None
    return from_code(failure.code, failure.message)


def _event(block: bytes) -> bytes:
    """The data of one event. Raises the error that it is."""
    lines = block.split(b"\n")
    data = b"\n".join(line[5:].lstrip() for line in lines if line.startswith(b"data:"))
    if b"event: error" in lines:
        raise _failure(data) or GlowplugError(f"the stream broke off: {data[:300]!r}")
    return data
