"""Arrays as bytes and as Python values, without a copy wherever that is safe."""

from __future__ import annotations

import io
import sys
from functools import lru_cache
from typing import Any

import numpy as np

from glowplug.core import npy
from glowplug.core.errors import FunctionFailed, InvalidArguments


def read_npy(body: memoryview | bytes) -> npy.Array:
    """A writable array: a view of `body` where that is writable, else a copy. Raises InvalidArguments."""
    try:
        array = npy.view(body)
    except ValueError as error:
        raise InvalidArguments(f"the body is not a .npy array: {error}") from None
    return array if array.flags.writeable and array.flags.aligned else array.copy(order="K")


def npy_pieces(array: npy.Array) -> list[bytes | bytearray | memoryview]:
    """A `.npy` file as its header and the array's own memory. Raises FunctionFailed for arrays of objects."""
    if array.dtype.hasobject:
        raise FunctionFailed("an array of objects cannot be sent: give it a dtype of numbers")
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    plain = np.ascontiguousarray(array.T if is_fortran else array)
    head = _header(array.shape, is_fortran, array.dtype)
    return [head, plain.reshape(-1).view(np.uint8).data] if plain.nbytes else [head]


@lru_cache(maxsize=64)
def _header(shape: tuple[int, ...], is_fortran: bool, dtype: np.dtype[Any]) -> bytes:
    from numpy.lib import format as npy_format

    stream = io.BytesIO()
    facts = {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": is_fortran, "shape": shape}
    npy_format.write_array_header_1_0(stream, facts)
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


def _from_lists(name: str, value: Any) -> npy.Array:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidArguments(f"argument {name!r} is not an array: {error}", name) from None
    if array.dtype.kind not in "biuf":
        raise InvalidArguments(f"argument {name!r} must be an array of numbers", name)
    return array


def as_array(value: Any) -> npy.Array | None:
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
