"""How much a function's processes may use: numbers only, decided from its declaration."""

from __future__ import annotations

import resource
from typing import NamedTuple

from glowplug.core.priority import PASSED_OVER, Priority

_MIB = 2**20
HEADROOM_BYTES = 256 * _MIB
"""What an interpreter with its libraries needs beside what a declaration speaks of."""
SMALLEST_SCRATCH_BYTES = 16 * _MIB
MAX_TASKS = 512
"""Processes and threads of one function."""
MAX_ENVIRONMENT_TASKS = 4096
MAX_FILES = 4096
"""Open descriptors of one process."""
_SHARES = 1024
_STEP_OF_NICE = 1.25
"""The kernel's own: what one process of niceness 0 weighs, and how much less each step makes it."""


class Bounds(NamedTuple):
    """Of all processes of one function together. `shares` are among those of its class, `rank`.
    `scratch_bytes` 0: its files are on the disk."""

    memory_bytes: int
    tasks: int
    shares: int
    scratch_bytes: int = 0
    rank: int = Priority.INTERACTIVE


def memory_limit_bytes(declared_bytes: int, weight_bytes: int, max_workers: int) -> int:
    """What all processes of a function may hold: each worker and the zygote what was declared; and the
    weights once, so that reading them never pushes the function's own pages out of the page cache."""
    return (max_workers + 1) * declared_bytes + weight_bytes + HEADROOM_BYTES


def part_limit_bytes(declared_bytes: int, gangs: int) -> int:
    """What the workers of one place in a function's gangs may hold, their share of the model included."""
    return gangs * declared_bytes + HEADROOM_BYTES


def head_limit_bytes(declared_bytes: int, gangs: int) -> int:
    """What the first workers of a function's gangs may hold, as its parts do, and the zygote they are of."""
    return part_limit_bytes(declared_bytes, gangs) + HEADROOM_BYTES


def scratch_limit_bytes(declared_bytes: int) -> int:
    """What all of a function's files may hold while it serves: they lie in its memory."""
    return max(declared_bytes, SMALLEST_SCRATCH_BYTES)


def processor_shares(nice: int, processes: int) -> int:
    """What a group weighs where the processor is short: as much as `processes` of this niceness would."""
    return max(2, round(_SHARES / _STEP_OF_NICE**nice) * processes)


def class_shares(rank: int, cores: int) -> int:
    """What all groups of a class weigh together where the processor is short, however many are in others: the
    highest as much as a busy process on each core, and each other one has its turn as in a line."""
    return max(2, _SHARES * cores // (1 + PASSED_OVER[Priority(rank)]))


def apply(tasks: int) -> None:
    """Limits of this process and of all that it starts; only ever lowers."""
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, MAX_FILES),
        (resource.RLIMIT_NPROC, tasks),
    ):
        _lower(kind, limit)


def limit_file(file_bytes: int) -> None:
    """The size of each file that this process and all that it starts write."""
    _lower(resource.RLIMIT_FSIZE, file_bytes)


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    lowered = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (lowered, lowered))
