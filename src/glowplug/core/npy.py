"""Where an array lies in a `.npy` file's bytes. numpy is imported only where one is at hand."""

from __future__ import annotations

import io
import math
import mmap
import struct
import threading
import tokenize
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np

_MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 10_000
"""As in numpy: what parses a header is not made for more."""
_NO_HEADER = (TypeError, OverflowError, EOFError, MemoryError, IndexError, RecursionError, SyntaxError,
              struct.error, tokenize.TokenError)  # fmt: skip
"""What numpy raises for bytes that are no header, beside ValueError: it reads them as Python."""
_one_at_a_time = threading.Lock()
"""numpy reads a header by `ast.literal_eval`, in which two threads at once can make Python before 3.11.9 say
`AST constructor recursion depth mismatch` (CPython issue 106905)."""
Array: TypeAlias = "np.ndarray[Any, Any]"
Layout: TypeAlias = "tuple[tuple[int, ...], bool, np.dtype[Any], int]"


def view(body: memoryview | bytes) -> Array:
    """The array that `body` is, without a copy, writable where `body` is. Raises ValueError."""
    import numpy as np

    try:
        shape, is_fortran, dtype, start = layout(body)
        if dtype.hasobject:
            raise ValueError("arrays of objects are not read")
        count = math.prod(shape)
        if count < 0 or any(length < 0 for length in shape):
            raise ValueError(f"a shape of {shape}")
        if count and not dtype.itemsize:
            raise ValueError("elements of no bytes: a body may claim any number of them")
        flat = np.frombuffer(body, dtype, count, start) if count else np.empty(count, dtype)
        return flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)
    except _NO_HEADER as error:
        raise ValueError(str(error)) from None


def mapped(path: Path) -> Array:
    """A file's array, read-only, whose pages come when they are used. Raises OSError, ValueError."""
    with path.open("rb") as file:
        return view(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


def layout(body: memoryview | bytes) -> Layout:
    """Shape, whether in Fortran's order, dtype, and where the data begin. Raises ValueError and what else
    comes of bytes that are no header."""
    if bytes(body[:6]) != _MAGIC:
        raise ValueError("it does not begin as one")
    long = body[6] > 1
    (header_bytes,) = struct.unpack_from("<I" if long else "<H", body, 8)
    start = (12 if long else 10) + header_bytes
    if header_bytes > _MAX_HEADER_BYTES or start > len(body):
        raise ValueError(f"a header of {header_bytes} bytes")
    return *_parsed(bytes(body[:start])), start


@lru_cache(maxsize=64)
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Reading a header takes 20 us, and the next request's is nearly always the same."""
    from numpy.lib import format as npy

    stream = io.BytesIO(header)
    version = npy.read_magic(stream)
    with _one_at_a_time:
        if version == (1, 0):
            return npy.read_array_header_1_0(stream)
        if version == (2, 0):
            return npy.read_array_header_2_0(stream)
    raise ValueError(f"format version {version}")
