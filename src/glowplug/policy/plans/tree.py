"""The launch tree: each worker starts its children, so that P workers are started in log P turns."""

from __future__ import annotations

import msgspec

PUBLISHED = {8: 8, 20: 4, 42: 6, 62: 2, 84: 4}
"""Branching by number of workers, as published: 8, 4 + 16, 6 + 36, 2 + 4 + .. + 32, 4 + 16 + 64."""


class LaunchTree(msgspec.Struct, frozen=True):
    """Worker i's starter is `parents[i]`, or the coordinator (-1), and it is started `turns[i]`-th by it,
    from 0."""

    branching: int
    parents: tuple[int, ...]
    turns: tuple[int, ...]

    def children(self, worker: int) -> list[int]:
        return [child for child, parent in enumerate(self.parents) if parent == worker]


def launch_tree(workers: int, branching: int | None = None) -> LaunchTree:
    """Level by level: the coordinator starts the first `branching`, each of them so many again, until there
    are P.

    Raises ValueError where either is below 1.
    """
    wide = branching if branching is not None else PUBLISHED.get(workers, min(workers, 8))
    if workers < 1 or wide < 1:
        raise ValueError(f"{workers} workers with branching {wide}: both are at least 1")
    return LaunchTree(
        branching=wide,
        parents=tuple(worker // wide - 1 for worker in range(workers)),
        turns=tuple(worker % wide for worker in range(workers)),
    )


def started_s(tree: LaunchTree, invoke_s: float, start_s: float) -> list[float]:
    """When each worker begins: its starter began, invoked those before it and it, and the platform started
    it."""
    found: list[float] = []
    for parent, turn in zip(tree.parents, tree.turns, strict=True):
        begun_s = found[parent] if parent >= 0 else 0.0
        found.append(begun_s + (turn + 1) * invoke_s + start_s)
    return found
