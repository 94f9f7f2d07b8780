"""Arguments and results as bytes, on the caller's side. numpy is imported only where an array is at hand.

A tensor (anything with `detach` and `numpy`) counts as an array; torch itself is never imported here.
"""

from __future__ import annotations

import io
import json
import struct
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from glowplug.core import npy
from glowplug.core.errors import InvalidArguments

JSON = "application/json"
NPY = "application/x-npy"
SAFETENSORS = "application/vnd.safetensors"
OCTETS = "application/octet-stream"
TEXT = "text/plain"
LINES = "application/x-ndjson"
EVENTS = "text/event-stream"
MAX_BODY_BYTES = 64 * 2**20
"""Of a request, and of an answer that is no stream."""

_SAFETENSORS_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip


def encode_arguments(arguments: Any) -> tuple[str, bytes]:
    """(content type, body). A lone array becomes `.npy`; the name of its argument, if it is known, travels
    as a parameter of the content type, percent-encoded. Raises InvalidArguments for what has no JSON form."""
    if arguments is None:
        return JSON, b"{}"
    if isinstance(arguments, (bytes, bytearray, memoryview)):
        return OCTETS, bytes(arguments)
    if isinstance(arguments, Mapping) and len(arguments) == 1:
        name, value = next(iter(arguments.items()))
        array = _as_array(value)
        if array is not None:
            return f"{NPY}; argument={quote(str(name))}", _npy(array)
    array = _as_array(arguments)
    if array is not None:
        return NPY, _npy(array)
    try:
        return JSON, msgspec.json.encode(arguments, enc_hook=_to_json)
    except (TypeError, ValueError, OverflowError) as error:
        raise _unsendable(f"the arguments cannot be written as JSON: {error}") from None


def decode_result(content_type: str, body: bytes) -> Any:
    """What `body` holds, by its content type; bytes when the type is not known. Raises ValueError."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == JSON:
        return msgspec.json.decode(body) if body else None
    if kind == LINES:
        return [msgspec.json.decode(line) for line in body.splitlines()]
    if kind == NPY:
        return npy.view(body).copy(order="K")
    if kind == SAFETENSORS:
        return _read_safetensors(body)
    if kind.startswith("text/"):
        return body.decode("utf-8", "replace")
    return body


def _as_array(value: Any) -> Any:
    """`value` as an ndarray when it is one or a tensor, else None."""
    if callable(getattr(value, "detach", None)) and callable(getattr(value, "numpy", None)):
        return value.detach().cpu().numpy()
    numpy = sys.modules.get("numpy")
    return value if numpy is not None and isinstance(value, numpy.ndarray) else None


def _npy(array: Any) -> bytes:
    import numpy as np

    stream = io.BytesIO()
    try:
        np.save(stream, array, allow_pickle=False)
    except ValueError:
        raise _unsendable(f"an array of {array.dtype} cannot be sent") from None
    return stream.getvalue()


def _unsendable(why: str) -> InvalidArguments:
    error = InvalidArguments(why)
    error.of_a_call = True
    return error


def _to_json(value: Any) -> Any:
    array = _as_array(value)
    if array is not None:
        return array.tolist()
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def _read_safetensors(body: bytes) -> dict[str, Any]:
    import numpy as np

    (header_bytes,) = struct.unpack_from("<Q", body)
    header = json.loads(body[8 : 8 + header_bytes])
    data = memoryview(body)[8 + header_bytes :]
    arrays = {}
    for name, facts in header.items():
        if name != "__metadata__":
            start, end = facts["data_offsets"]
            kind = _SAFETENSORS_TYPES.get(facts["dtype"])
            if kind is None:
                raise ValueError(f"tensor {name} is of type {facts['dtype']}, which numpy does not have")
            arrays[name] = np.frombuffer(data[start:end], dtype=kind).reshape(facts["shape"])
    return arrays
