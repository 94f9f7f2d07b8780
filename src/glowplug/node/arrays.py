"""Arrays as bytes and as Python values, without a copy wherever that is safe."""

from __future__ import annotations

import io
import math
import struct
import sys
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from glowplug.core.errors import FunctionFailed, InvalidArguments

_MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 10_000
"""As in numpy: what parses a header is not made for more."""
Array: TypeAlias = "np.ndarray[Any, Any]"


def read_npy(body: memoryview | bytes) -> Array:
    """A writable array: a view of `body` where that is writable, else a copy. Raises InvalidArguments."""
    try:
        shape, is_fortran, dtype, start = _layout(body)
        if dtype.hasobject:
            raise ValueError("arrays of objects are not read")
        count = math.prod(shape)
        if count < 0 or any(length < 0 for length in shape):
            raise ValueError(f"a shape of {shape}")
        if count and dtype.itemsize:
            flat = np.frombuffer(body, dtype, count, start)
        else:
            flat = np.empty(count, dtype)
        array = flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)
    except (ValueError, TypeError, OverflowError, EOFError, MemoryError, IndexError, struct.error) as error:
        raise InvalidArguments(f"the body is not a .npy array: {error}") from None
    return array if array.flags.writeable and array.flags.aligned else array.copy(order="K")


def _layout(body: memoryview | bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether in Fortran's order, dtype, and where the data begin."""
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
    if version == (1, 0):
        return npy.read_array_header_1_0(stream)
    if version == (2, 0):
        return npy.read_array_header_2_0(stream)
    raise ValueError(f"format version {version}")


def npy_pieces(array: Array) -> list[bytes | bytearray | memoryview]:
    """A `.npy` file as its header and the array's own memory. Raises FunctionFailed for arrays of objects."""
    if array.dtype.hasobject:
        raise FunctionFailed("an array of objects cannot be sent: give it a dtype of numbers")
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    plain = np.ascontiguousarray(array.T if is_fortran else array)
    head = _header(array.shape, is_fortran, array.dtype)
    return [head, plain.reshape(-1).view(np.uint8).data] if plain.nbytes else [head]


@lru_cache(maxsize=64)
def _header(shape: tuple[int, ...], is_fortran: bool, dtype: np.dtype[Any]) -> bytes:
    from numpy.lib import format as npy

    stream = io.BytesIO()
    facts = {"descr": npy.dtype_to_descr(dtype), "fortran_order": is_fortran, "shape": shape}
    npy.write_array_header_1_0(stream, facts)
    return stream.getvalue()


def is_array_type(wanted: Any) -> bool:
    """Whether an annotation asks for an array or a tensor."""
    return wanted is np.ndarray or getattr(wanted, "__origin__", None) is np.ndarray or _is_tensor(wanted)


def _is_tensor(wanted: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and wanted is torch.Tensor


def to_array(name: str, value: Any, wanted: Any) -> Any:
    """An argument as the array or the tensor that its annotation asks for. Raises InvalidArguments."""
    array = value if isinstance(value, np.ndarray) else _from_lists(name, value)
    if not _is_tensor(wanted):
        return array
    torch = sys.modules["torch"]
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _from_lists(name: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidArguments(f"argument {name!r} is not an array: {error}", name) from None
    if array.dtype.kind not in "biuf":
        raise InvalidArguments(f"argument {name!r} must be an array of numbers", name)
    return array


def as_array(value: Any) -> Array | None:
    """`value` as an array when it is one, a tensor, or lists of numbers; else None."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return value.detach().numpy()  # type: ignore[no-any-return]
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (list, tuple)):
        try:
            array = np.asarray(value)
        except ValueError:
            return None
        return array if array.dtype.kind in "biuf" else None
    return None
