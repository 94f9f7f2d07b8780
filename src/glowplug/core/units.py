"""Sizes and durations as people write them: `512MB`, `5m`."""

from __future__ import annotations

import re
from typing import TypeVar

from glowplug.core.errors import InvalidDeclaration

_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
          "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}  # fmt: skip
_TIMES = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")
MOST_BYTES = 2**62
"""More than any machine has, and no more than every format has room for."""
_Number = TypeVar("_Number", int, float)


def parse_bytes(value: str | int, what: str = "size") -> int:
    """Bytes in `value`: a number, or text such as `512MB`, `1.5GiB`. Raises InvalidDeclaration."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise InvalidDeclaration(f"{what}: {value} is negative")
        return _bounded(value, value, what)
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2].lower() not in _SIZES:
        raise InvalidDeclaration(f"{what}: {value!r} is not a size; write for example '512MB' or '2GiB'")
    return int(_bounded(float(match[1]) * _SIZES[match[2].lower()], value, what))


def _bounded(found: _Number, value: str | int, what: str) -> _Number:
    if not found <= MOST_BYTES:
        raise InvalidDeclaration(f"{what}: {str(value)[:40]} is more than any machine has")
    return found


def parse_seconds(value: str | float, what: str = "duration") -> float:
    """Seconds in `value`: a number, or text such as `250ms`, `5m`, `2h`. Raises InvalidDeclaration."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value < 1e10:
            raise InvalidDeclaration(f"{what}: {value} is out of range")
        return float(value)
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2].lower() not in _TIMES:
        raise InvalidDeclaration(
            f"{what}: {value!r} is not a duration; write for example '250ms', '5m' or '2h'"
        )
    return float(match[1]) * _TIMES[match[2].lower()]


def show_bytes(count: float) -> str:
    """`count` in decimal units with at most three digits, as `90.9 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def show_seconds(duration_s: float) -> str:
    """`duration_s` with three digits and the unit that suits it, as `41.2 ms`."""
    if duration_s < 1e-3:
        return f"{duration_s * 1e6:.0f} us"
    if duration_s < 1:
        return f"{duration_s * 1e3:.3g} ms"
    return f"{duration_s:.3g} s" if duration_s < 100 else f"{duration_s:.0f} s"
