"""Arrays seen in a `.npy` file's bytes, without a copy."""

from __future__ import annotations

import gc
import io
from pathlib import Path

import numpy as np
import pytest

from glowplug.core import npy


def saved(array: npy.Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def headed(text: str) -> bytes:
    """A file of version 1 with that header, and no data."""
    line = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3), (4, 1, 5)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_mapped_file_is_the_array_that_was_saved(
    tmp_path: Path, shape: tuple[int, ...], order: str
) -> None:
    array = np.asarray(np.arange(np.prod(shape)).reshape(shape), np.float32, order)  # type: ignore[call-overload]
    path = tmp_path / "array.npy"
    np.save(path, array)
    found = npy.mapped(path)
    gc.collect()
    assert found.shape == shape
    assert found.dtype == np.float32
    assert np.array_equal(found, array)
    assert found.size == 0 or not found.flags.writeable


def test_a_view_shares_the_bytes() -> None:
    body = bytearray(saved(np.zeros(4)))
    npy.view(memoryview(body))[:] = 7.0
    assert np.array_equal(np.load(io.BytesIO(body)), np.full(4, 7.0))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\x93NUMPY", b"no array", saved(np.zeros(9))[:-1], saved(np.zeros(3)).replace(b"(3,)", b"(-3)"),
        headed("{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000,), }"),
        headed("{'descr': '|S0', 'fortran_order': False, 'shape': (1000000000,), }"),
        headed("{'descr': ('<f4', "), headed("  x\n y"), headed("-" * 5000 + "1"),
    ],
)  # fmt: skip
def test_what_is_no_array_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        npy.view(body)
