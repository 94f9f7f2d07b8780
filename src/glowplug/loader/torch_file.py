"""A file that `torch.save` wrote, from any source: a zip whose members are a pickle and, uncompressed, the
bytes of each storage. Only the pickle is read here, and nothing that it names is called.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from glowplug.loader.errors import WeightsUnreadable
from glowplug.loader.format import Header, StorageEntry, TensorEntry
from glowplug.loader.plain import plain_header
from glowplug.loader.safetensors_file import MOST_HEADER_BYTES
from glowplug.loader.sources import WeightSource
from glowplug.loader.tensors import row_major
from glowplug.loader.weights import unwrap

MAGIC = b"PK\3\4"
_ENCRYPTED = 1
"""Of a member's flags."""
_BUFFER_BYTES = 256 * 2**10
_LOCAL_HEADER = struct.Struct("<26xHH")
"""Of a member: what comes first has the lengths of its name and of its padding at the end."""
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16",
    "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
}  # fmt: skip


class _Storage(NamedTuple):
    """A member of the archive; `dtype` is empty where only its users know."""

    key: str
    dtype: str


class _Tensor(NamedTuple):
    storage: _Storage
    dtype: str
    start: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def end(self) -> int:
        """Elements up to the last that it covers, from the start of its storage."""
        if 0 in self.shape:
            return 0
        return 1 + self.start + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))


class _Foreign(Exception):
    """The pickle names what no file of weights needs."""


class _Lazy(Exception):
    """A tensor is something else than what is stored for it."""


class TorchFile(NamedTuple):
    """`sums` are the CRC-32 of its storages; None where torch was told not to compute them."""

    header: Header
    weights_offset: int
    sums: tuple[int, ...] | None


def read_torch_file(source: WeightSource) -> TorchFile:
    """What it holds, and where. Raises WeightsUnreadable, and what the source raises."""
    name = source.name
    try:
        with zipfile.ZipFile(io.BufferedReader(_Seekable(source), _BUFFER_BYTES)) as archive:
            members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            if "byteorder" in members and _read(source, archive, members["byteorder"]) != b"little":
                raise ValueError("it was saved on a big-endian machine")
            loaded = _Reader(io.BytesIO(_read(source, archive, members["data.pkl"]))).load()
        tensors = unwrap(loaded, name, _Tensor)
        keys = dict.fromkeys(tensor.storage.key for tensor in tensors.values())
        places = _places(source, {key: members[f"data/{key}"] for key in keys})
        header, weights_offset = _header(tensors, places, name)
        sums = tuple(members[f"data/{key}"].CRC for key in places)
        return TorchFile(header, weights_offset, sums if members["data.pkl"].CRC else None)
    except _Foreign as error:
        raise WeightsUnreadable(
            f"{name} is damaged, or holds more than tensors and is not loaded because it could run code "
            f"({error}); save model.state_dict() only, best as .safetensors"
        ) from error
    except _Lazy as error:
        raise WeightsUnreadable(f"{name}: {error}") from error
    except WeightsUnreadable:
        raise
    except (
        zipfile.BadZipFile, pickle.UnpicklingError, struct.error, EOFError, LookupError, ValueError,
        TypeError, AttributeError, NotImplementedError, RecursionError, OverflowError, MemoryError,
    ) as error:  # fmt: skip
        reason = str(error) or type(error).__name__
        raise WeightsUnreadable(
            f"{name} is truncated or no torch weights file ({reason}); download or save it again"
        ) from error


def _read(source: WeightSource, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    _require_stored(info)
    if info.file_size > MOST_HEADER_BYTES:
        raise ValueError(f"{info.filename} has {info.file_size} bytes")
    if info.CRC:
        return archive.read(info)
    # Of a file for which torch computed no sums; archive.read would miss them.
    (place,) = _places(source, {info.filename: info}).values()
    content = bytearray(place.nbytes)
    source.read_into(content, place.offset, place.nbytes)
    return bytes(content)


def _require_stored(info: zipfile.ZipInfo) -> None:
    """torch compresses and encrypts nothing; what is small may become large."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed")
    if info.flag_bits & _ENCRYPTED:
        raise ValueError(f"{info.filename} is encrypted")


class _Reader(pickle.Unpickler):
    """Makes descriptions of tensors, where torch's own makes tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module == "torch" and (name in _STORAGES or _is_dtype(name)):
            return _STORAGES.get(name, name)
        raise _Foreign(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, _, _ = pid
        if kind != "storage" or not isinstance(key, str) or not isinstance(dtype, str):
            raise ValueError(f"it refers to a {kind}")
        return _Storage(key, dtype)


def _rebuilt(
    storage: _Storage, start: int, shape: Sequence[int], stride: Sequence[int], *others: Any
) -> _Tensor:
    """`others` are whether it is a parameter, its hooks, its type where the storage does not tell, and what
    is still to be done with what is stored."""
    if any(isinstance(one, dict) and any(one.values()) for one in others[2:]):
        raise _Lazy(
            "it has a tensor that is a lazy conjugate or negative of what is stored; save "
            "tensor.resolve_conj().resolve_neg()"
        )
    dtype = storage.dtype or others[2]
    made = _Tensor(storage, dtype, start, tuple(shape), tuple(stride))
    if not _is_dtype(dtype) or min(start, *made.shape, *made.stride, 0) < 0:
        raise ValueError(f"it has a tensor {made}")
    return made


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("torch", "Size"): tuple,
    ("torch.storage", "UntypedStorage"): "",
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuilt,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
}


def _is_dtype(name: str) -> bool:
    import torch

    return isinstance(getattr(torch, name, None), torch.dtype)


def _places(source: WeightSource, members: Mapping[str, zipfile.ZipInfo]) -> dict[str, StorageEntry]:
    """Where in the file the bytes of each storage lie, in the order in which they lie there."""

    def place(info: zipfile.ZipInfo) -> StorageEntry:
        _require_stored(info)
        # The directory does not tell how much padding its own header has.
        head = bytearray(_LOCAL_HEADER.size)
        source.read_into(head, info.header_offset, len(head))
        offset = info.header_offset + len(head) + sum(_LOCAL_HEADER.unpack(head))
        end = offset + info.file_size
        if end > source.size:
            raise ValueError(f"{info.filename} lies at {offset} to {end} of {source.size} bytes")
        return StorageEntry(offset, info.file_size)

    with ThreadPoolExecutor(source.advice.parallel) as threads:
        found = dict(zip(members, threads.map(place, members.values()), strict=True))
    return dict(sorted(found.items(), key=lambda item: (item[1].offset, item[0])))


def _header(
    tensors: Mapping[str, _Tensor], places: Mapping[str, StorageEntry], file: str
) -> tuple[Header, int]:
    import torch

    begin = min((place.offset for place in places.values()), default=0)
    storages = [StorageEntry(place.offset - begin, place.nbytes) for place in places.values()]
    numbers = {key: number for number, key in enumerate(places)}
    entries = []
    for name, one in tensors.items():
        number, dtype = numbers[one.storage.key], getattr(torch, one.dtype)
        if one.end() * dtype.itemsize > storages[number].nbytes:
            place = f"the {storages[number].nbytes} bytes at {places[one.storage.key].offset}"
            raise ValueError(f"tensor {name} reaches past its storage, {place}")
        if storages[number].offset % dtype.itemsize:
            raise ValueError(f"tensor {name} is not aligned to its elements")
        stride = None if one.stride == row_major(one.shape) else one.stride
        entries.append(TensorEntry(name, one.dtype, one.shape, number, one.start, stride, True, False))
    return plain_header(entries, storages, begin, file), begin


class _Seekable(io.RawIOBase):
    """A source as a file, for who reads here and there in it."""

    def __init__(self, source: WeightSource) -> None:
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        if start + offset < 0:
            raise ValueError(f"there is no offset {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        length = max(0, min(view.nbytes, self._source.size - self._at))
        self._source.read_into(view, self._at, length)
        self._at += length
        return length
