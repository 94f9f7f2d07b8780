"""Whether two answers are the same, and if not, how far apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

TOLERANCE = 1e-5
"""For baselines whose file format leaves tensors unaligned: the same weights then take other kernels, and
the last bits of an answer move. Relative to the largest number of the answer."""


def difference(left: Any, right: Any) -> float:
    """0.0 when equal bit for bit, else max |l - r| / max |r|; infinity when shapes or words differ."""
    if left == right:
        return 0.0
    left_numbers, right_numbers = list(_numbers(left)), list(_numbers(right))
    if _outline(left) != _outline(right):
        return float("inf")
    scale = max((abs(number) for number in right_numbers), default=0.0) or 1.0
    return max(abs(one - other) for one, other in zip(left_numbers, right_numbers, strict=True)) / scale


def _numbers(answer: Any) -> Iterator[float]:
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list):
        for item in answer:
            yield from _numbers(item)
    elif isinstance(answer, (int, float)):
        yield float(answer)


def _outline(answer: Any) -> Any:
    """The answer with every number taken out."""
    if isinstance(answer, dict):
        return {key: _outline(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [_outline(item) for item in answer]
    return None if isinstance(answer, (int, float)) else answer
