"""The compiled loops of the kernel. Importing it imports numba and compiles, or loads what was compiled
before.

Rows that read the same inputs are summed four at a time: each input that is loaded is used four times, and
is in the first-level cache for the next four. Products are added one by one, each with a single rounding
(`fma`), in vectors and in their tails alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

TILE = 512  # samples at a time: 32 rows of them take 64 KiB
_ZERO = np.float32(0)
_int32s = types.Array(types.int32, 1, "C", readonly=True)
_int64s = types.Array(types.int64, 1, "C", readonly=True)
_uint64s = types.Array(types.uint64, 1, "C")
_flags = types.Array(types.boolean, 1, "C")
_floats = types.Array(types.float32, 1, "C", readonly=True)
_matrix = types.Array(types.float32, 2, "C", readonly=True)
_written = types.Array(types.float32, 2, "C")


def _typed_fma(typing, a, b, c):  # type: ignore[no-untyped-def]
    """a * b + c, rounded once. Left to itself the compiler may fuse the vectors and not their tails."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


_fma: Any = intrinsic(_typed_fma)


@njit(cache=True, nogil=True)
def _copy_tile(x, reads, start, width, tile, nonzero):  # type: ignore[no-untyped-def]
    """The rows that are read, the samples from `start` on: near one another, they miss fewer pages."""
    for row in range(len(reads)):
        source = x[reads[row], start : start + width]
        found = False
        for s in range(width):
            value = source[s]
            tile[row, s] = value
            found |= value != _ZERO
        nonzero[row] = found


@njit(cache=True, nogil=True)
def _choose(indices, at, fan_in, nonzero, chosen):  # type: ignore[no-untyped-def]
    """Rows of zeros are passed over. They would add nothing, to the bit: a sum that starts at +0 is never
    -0."""
    count = 0
    for k in range(fan_in):
        if nonzero[indices[at + k]]:
            chosen[count] = k
            count += 1
    return count


@njit(cache=True, nogil=True)
def _one_row(tile, indices, values, at, chosen, count, width, sums):  # type: ignore[no-untyped-def]
    sums[:width] = _ZERO
    i = 0
    while i + 4 <= count:
        k0, k1, k2, k3 = at + chosen[i], at + chosen[i + 1], at + chosen[i + 2], at + chosen[i + 3]
        x0, x1, x2, x3 = tile[indices[k0]], tile[indices[k1]], tile[indices[k2]], tile[indices[k3]]
        v0, v1, v2, v3 = values[k0], values[k1], values[k2], values[k3]
        for s in range(width):
            sums[s] = _fma(v3, x3[s], _fma(v2, x2[s], _fma(v1, x1[s], _fma(v0, x0[s], sums[s]))))
        i += 4
    for j in range(i, count):
        x, value = tile[indices[at + chosen[j]]], values[at + chosen[j]]
        for s in range(width):
            sums[s] = _fma(value, x[s], sums[s])


@njit(cache=True, nogil=True)
def _four_rows(tile, indices, values, a, b, c, d, chosen, count, width, sums):  # type: ignore[no-untyped-def]
    """Four rows whose values start at a, b, c and d, and whose inputs are those of the first."""
    sums[:, :width] = _ZERO
    i = 0
    while i + 4 <= count:
        k0, k1, k2, k3 = chosen[i], chosen[i + 1], chosen[i + 2], chosen[i + 3]
        x0, x1 = tile[indices[a + k0]], tile[indices[a + k1]]
        x2, x3 = tile[indices[a + k2]], tile[indices[a + k3]]
        a0, a1, a2, a3 = values[a + k0], values[a + k1], values[a + k2], values[a + k3]
        b0, b1, b2, b3 = values[b + k0], values[b + k1], values[b + k2], values[b + k3]
        c0, c1, c2, c3 = values[c + k0], values[c + k1], values[c + k2], values[c + k3]
        d0, d1, d2, d3 = values[d + k0], values[d + k1], values[d + k2], values[d + k3]
        for s in range(width):
            y0, y1, y2, y3 = x0[s], x1[s], x2[s], x3[s]
            sums[0, s] = _fma(a3, y3, _fma(a2, y2, _fma(a1, y1, _fma(a0, y0, sums[0, s]))))
            sums[1, s] = _fma(b3, y3, _fma(b2, y2, _fma(b1, y1, _fma(b0, y0, sums[1, s]))))
            sums[2, s] = _fma(c3, y3, _fma(c2, y2, _fma(c1, y1, _fma(c0, y0, sums[2, s]))))
            sums[3, s] = _fma(d3, y3, _fma(d2, y2, _fma(d1, y1, _fma(d0, y0, sums[3, s]))))
        i += 4
    for j in range(i, count):
        k = chosen[j]
        x, va, vb, vc, vd = tile[indices[a + k]], values[a + k], values[b + k], values[c + k], values[d + k]
        for s in range(width):
            y = x[s]
            sums[0, s] = _fma(va, y, sums[0, s])
            sums[1, s] = _fma(vb, y, sums[1, s])
            sums[2, s] = _fma(vc, y, sums[2, s])
            sums[3, s] = _fma(vd, y, sums[3, s])


@njit(cache=True, nogil=True)
def _activate(sums, bias, floor, cap, everywhere, width, y):  # type: ignore[no-untyped-def]
    # A sum of zero, with a bias below it, comes to a floor of zero all the same.
    if everywhere or (bias <= _ZERO and floor == _ZERO):
        for s in range(width):
            y[s] = min(cap, max(floor, sums[s] + bias))
    else:
        for s in range(width):
            z = sums[s]
            y[s] = min(cap, max(floor, z + bias if z != _ZERO else z))


@njit(
    types.void(
        _int64s, _int32s, _floats, _floats, _int32s, _int64s,
        _int32s, _matrix, _written, types.float32, types.float32, types.boolean, _written, _int32s,
    ),
    cache=True, nogil=True,
)  # fmt: skip
def forward(  # type: ignore[no-untyped-def]
    indptr, indices, values, bias, order, groups, reads, x, tile, floor, cap, everywhere, out, slots
):
    """`indices` are places in `reads`, which are rows of x; `tile` (reads, TILE) is working space.

    Rows `order[groups[g]:groups[g + 1]]` read the same inputs.
    """
    widest = 0
    for row in range(len(indptr) - 1):
        widest = max(widest, indptr[row + 1] - indptr[row])
    chosen = np.empty(widest, np.int64)
    sums = np.empty((4, TILE), np.float32)
    nonzero = np.empty(len(reads), np.bool_)
    for start in range(0, x.shape[1], TILE):
        end = min(start + TILE, x.shape[1])
        width = end - start
        _copy_tile(x, reads, start, width, tile, nonzero)
        for g in range(len(groups) - 1):
            at = indptr[order[groups[g]]]
            count = _choose(indices, at, indptr[order[groups[g]] + 1] - at, nonzero, chosen)
            for place in range(groups[g], groups[g + 1], 4):
                rows = order[place : min(place + 4, groups[g + 1])]
                if len(rows) == 4:
                    a, b, c, d = indptr[rows[0]], indptr[rows[1]], indptr[rows[2]], indptr[rows[3]]
                    _four_rows(tile, indices, values, a, b, c, d, chosen, count, width, sums)
                else:
                    for i in range(len(rows)):
                        _one_row(tile, indices, values, indptr[rows[i]], chosen, count, width, sums[i])
                for i in range(len(rows)):
                    row = rows[i]
                    y = out[slots[row], start:end]
                    _activate(sums[i], bias[row], floor, cap, everywhere, width, y)


@njit(types.void(_int64s, _int32s, _uint64s), cache=True, nogil=True)
def hash_rows(indptr, indices, hashes):  # type: ignore[no-untyped-def]
    """Equal for rows that read the same inputs in the same order (FNV-1a over whole indices)."""
    for row in range(len(indptr) - 1):
        mixed = np.uint64(0xCBF29CE484222325)
        for k in range(indptr[row], indptr[row + 1]):
            mixed = (mixed ^ np.uint64(indices[k])) * np.uint64(0x100000001B3)
        hashes[row] = mixed


@njit(types.void(_int64s, _int32s, _int32s, _flags), cache=True, nogil=True)
def flag_changes(indptr, indices, order, changes):  # type: ignore[no-untyped-def]
    """`changes[i]`: row `order[i]` does not read what the one before it in the order reads."""
    for place in range(len(order)):
        changes[place] = True
        if place == 0:
            continue
        a, b = indptr[order[place - 1]], indptr[order[place]]
        count = indptr[order[place] + 1] - b
        if indptr[order[place - 1] + 1] - a != count:
            continue
        k = 0
        while k < count and indices[a + k] == indices[b + k]:
            k += 1
        changes[place] = k < count
