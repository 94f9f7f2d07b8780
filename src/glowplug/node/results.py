"""A result becomes a body.

JSON, with arrays as nested lists and null for NaN and the infinities, unless the client accepts `.npy` or
safetensors, or the function returns bytes. What a stream yields becomes events where the client accepts
`text/event-stream`, else lines of JSON; bytes go out as they are, and so does text where the client accepts
`text/plain`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any

import msgspec
import numpy as np

from glowplug.core.bodies import EVENTS, JSON, LINES, NPY, OCTETS, SAFETENSORS, TEXT
from glowplug.core.errors import FunctionFailed
from glowplug.node.arrays import as_array, npy_pieces
from glowplug.transport.unsent import Piece
from glowplug.transport.worker_answers import Body


def _to_json(value: Any) -> Any:
    array = as_array(value)
    if array is not None:
        return array.tolist()
    if isinstance(value, np.generic):
        return value.item()
    hint = ""
    if isinstance(value, Awaitable):
        hint = ": what awaits is declared async def, and so is what wraps it"
    elif isinstance(value, Iterable):
        hint = ": make a list of it"
    raise TypeError(f"a {type(value).__name__} has no JSON form{hint}")


_as_json = msgspec.json.Encoder(enc_hook=_to_json).encode


def encode_result(result: Any, accept: str) -> tuple[int, str, Body]:
    """(status, content type, body) of a result. Raises FunctionFailed when it cannot be sent."""
    if accept:
        if NPY in accept:
            array = as_array(result)
            if array is not None:
                return 200, NPY, npy_pieces(array)
        if SAFETENSORS in accept and isinstance(result, dict):
            return 200, SAFETENSORS, _safetensors(result)
    if isinstance(result, (bytes, bytearray, memoryview)):
        return 200, OCTETS, [_octets(result)]
    return 200, JSON, to_json(result)


def _octets(data: Piece) -> Piece:
    """Its bytes in their order, copied where they lie apart. Raises FunctionFailed for a released view."""
    if not isinstance(data, memoryview):
        return data
    try:
        return data.cast("B")
    except (TypeError, ValueError):  # in pieces, empty, or of a form that the standard library can't name
        pass
    try:
        return data.tobytes()
    except (ValueError, NotImplementedError) as error:
        raise FunctionFailed(f"the result cannot be sent: {error}") from error


def to_json(result: Any) -> bytes:
    """Raises FunctionFailed for what has no JSON form."""
    try:
        return _as_json(result)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FunctionFailed(f"the result cannot be written as JSON: {error}") from error


def _safetensors(result: dict[str, Any]) -> bytes:
    from safetensors.numpy import save

    arrays = {name: as_array(value) for name, value in result.items()}
    wrong = [name for name, array in arrays.items() if array is None]
    if wrong:
        raise FunctionFailed(f"the result cannot be written as safetensors: {wrong[0]!r} is no array")
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


class ItemEncoder:
    """What one stream yields, as bytes. The first item decides the form, and `content_type` with it."""

    def __init__(self, accept: str) -> None:
        self.content_type = EVENTS if EVENTS in accept else LINES
        self._accepts_text = TEXT in accept
        self._raw: type | None = None
        self._begun = False

    def encode(self, item: Any) -> Piece:
        """Raises FunctionFailed for what has no JSON form, or another form than the items before."""
        if not self._begun:
            self._begun = True
            if isinstance(item, (bytes, bytearray, memoryview)):
                self._raw, self.content_type = bytes, OCTETS
            elif isinstance(item, str) and self._accepts_text and self.content_type is LINES:
                self._raw, self.content_type = str, f"{TEXT}; charset=utf-8"
        if self._raw is bytes and isinstance(item, (bytes, bytearray, memoryview)):
            return _octets(item)
        if self._raw is str and isinstance(item, str):
            return item.encode("utf-8", "replace")
        if self._raw is not None or isinstance(item, (bytes, bytearray, memoryview)):
            raise FunctionFailed(
                f"the stream yielded {type(item).__name__} after items of another form: keep to one"
            )
        line = to_json(item)
        return b"data: %b\n\n" % line if self.content_type is EVENTS else line + b"\n"
