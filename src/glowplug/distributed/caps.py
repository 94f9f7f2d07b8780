"""What holds the processes of workers to their memory, beside or in place of a limit of their address space.

The kernel's control groups do (`node/isolation/memory_caps.py`), where a host has them: they count what is
resident, files in memory and children included, as a function platform does.
"""

from __future__ import annotations

from typing import Protocol


class Cap(Protocol):
    """Of one process and all that it starts."""

    def add(self, pid: int) -> None:
        """One that is gone is no error. Raises OSError."""

    def out_of_memory(self) -> bool:
        """Whether the kernel ended a process for its memory; each end is told once."""

    def remove(self) -> None:
        """When its process is gone."""


class Caps(Protocol):
    def cap(self, name: str, memory_bytes: int) -> Cap:
        """`name` is unique among those that were not removed. Raises OSError."""
