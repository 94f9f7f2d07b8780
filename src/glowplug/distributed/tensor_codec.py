"""Any tensor as bytes: what stages of a network hand on that is not mostly zeros. Lossless.

Layout, little endian: dtype 1, dimensions 1, compressed 1, padding 5; each dimension 8; then the elements
in C order, as they are or byte-shuffled in one zstd frame.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from glowplug.distributed.channels.base import Buffer
from glowplug.distributed.errors import FrameCorrupt, FrameMismatch

DTYPES = tuple(np.dtype(name) for name in (
    "<f4", "<f2", "<f8", "<i8", "<i4", "<i2", "i1", "<u8", "<u4", "<u2", "u1", "?", "<c8",
))  # fmt: skip
"""By their number in the head: append only. bfloat16, which numpy does not have, goes as `<u2`."""
MOST_DIMENSIONS = 16
LEVEL = 1
_HEAD = struct.Struct("<BBBx4x")


def encode_tensor(array: npt.NDArray[Any], level: int | None = None) -> bytes:
    """`level` is zstd's; None leaves the elements as they are, which is right for dense activations in fp32:
    they shrink by a tenth and cost more to compress than to send. Raises ValueError for other dtypes."""
    dtype = array.dtype.newbyteorder("<")
    if dtype not in DTYPES or array.ndim > MOST_DIMENSIONS:
        raise ValueError(f"a tensor of {array.dtype} with {array.ndim} dimensions cannot be sent")
    content = array.astype(dtype, copy=False).tobytes()
    if level is not None:
        import zstandard  # what is not compressed needs nothing but numpy

        planes = np.frombuffer(content, np.uint8).reshape(-1, dtype.itemsize).T.tobytes()
        content = zstandard.ZstdCompressor(level).compress(planes)
    head = _HEAD.pack(DTYPES.index(dtype), array.ndim, level is not None)
    return head + struct.pack(f"<{array.ndim}Q", *array.shape) + content


def decode_tensor(body: Buffer, *, most_bytes: int) -> npt.NDArray[Any]:
    """What `encode_tensor` was given; read-only, and of a tensor that was not compressed a view of `body`.

    Raises FrameCorrupt for what `encode_tensor` never writes, FrameMismatch for a tensor above `most_bytes`.
    """
    view = memoryview(body).cast("B")
    dtype, shape, compressed, content = _opened(view)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > most_bytes:
        raise FrameMismatch(f"a tensor of {nbytes} bytes came, and at most {most_bytes} are expected")
    if not compressed:
        if len(content) != nbytes:
            raise FrameCorrupt(f"a tensor of {nbytes} bytes that come as {len(content)}")
        return np.frombuffer(content, dtype).reshape(shape)
    import zstandard

    try:
        if zstandard.frame_content_size(content) != nbytes:
            raise FrameCorrupt(f"a tensor of {nbytes} bytes that would not expand to that")
        planes = zstandard.ZstdDecompressor().decompress(content, nbytes, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FrameCorrupt(f"a tensor that does not expand: {error}") from error
    whole = np.frombuffer(planes, np.uint8).reshape(dtype.itemsize, -1).T
    found = np.ascontiguousarray(whole).reshape(-1).view(dtype).reshape(shape)
    found.setflags(write=False)
    return found


def _opened(view: memoryview) -> tuple[np.dtype[Any], tuple[int, ...], bool, memoryview]:
    if len(view) < _HEAD.size:
        raise FrameCorrupt(f"a tensor of {len(view)} bytes")
    number, dimensions, compressed = _HEAD.unpack_from(view)
    at = _HEAD.size + 8 * dimensions
    if number >= len(DTYPES) or dimensions > MOST_DIMENSIONS or compressed > 1 or len(view) < at:
        raise FrameCorrupt(f"a tensor of dtype number {number} with {dimensions} dimensions")
    shape = struct.unpack_from(f"<{dimensions}Q", view, _HEAD.size)
    if math.prod(side or 1 for side in shape) > 2**62:
        raise FrameCorrupt(f"a tensor of shape {shape}")
    return DTYPES[number], shape, bool(compressed), view[at:]
