"""Arrays as bytes and as Python values, without a copy wherever that is safe."""

from __future__ import annotations

import io
import sys
import typing
from functools import lru_cache
from typing import Any

import numpy as np

from glowplug.core import npy
from glowplug.core.annotations import array_type, bare, is_tensor
from glowplug.core.errors import FunctionFailed, InvalidArguments

_KERNELS_ALIGN_BYTES = 16
"""Products have other last bits where an operand begins between such addresses (decision 009); the memory of
numpy and of torch never does."""


def read_npy(body: memoryview | bytes) -> npy.Array:
    """A writable array: a view of `body` where that is writable and lies as an array's own memory does, else
    a copy. Raises InvalidArguments."""
    try:
        array = npy.view(body)
    except ValueError as error:
        raise InvalidArguments(f"the body is not a .npy array: {error}") from None
    lies_well = array.flags.aligned and not array.__array_interface__["data"][0] % _KERNELS_ALIGN_BYTES
    return array if array.flags.writeable and lies_well else array.copy(order="K")


def npy_pieces(array: npy.Array) -> list[bytes | bytearray | memoryview]:
    """A `.npy` file as its header and the array's own memory. Raises FunctionFailed for arrays of objects."""
    if array.dtype.hasobject:
        raise FunctionFailed("an array of objects cannot be sent: give it a dtype of numbers")
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    plain = np.ascontiguousarray(array.T if is_fortran else array)
    head = _header(array.shape, is_fortran, array.dtype)
    return [head, plain.reshape(-1).view(np.uint8).data] if plain.nbytes else [head]


_NUMBERS = "?bhilqBHILQefd"
"""The kinds of numbers that arguments may ask for, in NumPy's letters."""


@lru_cache(maxsize=64)
def _header(shape: tuple[int, ...], is_fortran: bool, dtype: np.dtype[Any]) -> bytes:
    from numpy.lib import format as npy_format

    stream = io.BytesIO()
    facts = {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": is_fortran, "shape": shape}
    npy_format.write_array_header_1_0(stream, facts)
    return stream.getvalue()


def to_array(name: str, value: Any, wanted: Any) -> Any:
    """An argument as the array or the tensor that its annotation asks for, or None where that may be. What
    came as an array keeps its dtype. A tensor is where torch makes tensors. Raises InvalidArguments."""
    kind = array_type(wanted)
    if value is None and kind is not bare(wanted):
        return None
    if not is_tensor(kind):
        return value if isinstance(value, np.ndarray) else _from_lists(name, value, _dtype_of(kind))
    torch = sys.modules["torch"]
    device = torch.get_default_device()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value if value.flags.writeable else value.copy()).to(device)
    listed = torch.from_numpy(_from_lists(name, value))
    if listed.is_floating_point():
        return listed.to(device=device, dtype=torch.get_default_dtype())
    return listed.to(device)


def _from_lists(name: str, value: Any, dtype: np.dtype[Any] | None = None) -> npy.Array:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidArguments(f"argument {name!r} is not an array: {error}", name) from None
    if array.dtype.kind not in "biuf":
        has_null = array.dtype == object and any(item is None for item in array.flat)
        why = ", and there is a null (JSON has no NaN: send .npy)" if has_null else ""
        raise InvalidArguments(f"argument {name!r} must be an array of numbers{why}", name)
    if dtype is None or dtype == array.dtype:
        return array
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(dtype)
    if dtype.kind in "biu" and not np.array_equal(cast, array):
        raise InvalidArguments(f"argument {name!r} has values that {dtype} does not have", name)
    return cast


@lru_cache(maxsize=64)
def _dtype_of(wanted: Any) -> np.dtype[Any] | None:
    """Of `NDArray[T]`, where T is one type of numbers."""
    kinds = [kind for part in typing.get_args(wanted)[1:] for kind in typing.get_args(part)]
    found = kinds[0] if len(kinds) == 1 else None
    if not isinstance(found, type) or not issubclass(found, np.generic):
        return None
    try:
        dtype = np.dtype(found)
    except TypeError:  # a class of numbers and no type, as np.floating
        return None
    return dtype if dtype.char in _NUMBERS and dtype.type is found else None


def as_array(value: Any) -> npy.Array | None:
    """`value` as an array when it is one, a tensor, or lists of numbers; else None."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        if value.dtype == torch.bfloat16:  # which numpy does not have
            value = value.float()
        return value.numpy()  # type: ignore[no-any-return]
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (list, tuple)):
        try:
            array = np.asarray(value)
        except ValueError:
            return None
        return array if array.dtype.kind in "biuf" else None
    return None
