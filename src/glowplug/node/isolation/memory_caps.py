"""Control groups as caps on the workers of a distributed run (`distributed/caps.py`)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glowplug.node.isolation.cgroups import Group, Groups, open_groups
from glowplug.node.isolation.limits import MAX_TASKS, Bounds, processor_shares


class MemoryCaps:
    """`version` is that of the host's control groups."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self.version = groups.version

    def cap(self, name: str, memory_bytes: int) -> Group:
        """Raises OSError."""
        return self._groups.make(name, Bounds(memory_bytes, MAX_TASKS, processor_shares(os.nice(0), 1)))


@contextmanager
def memory_caps() -> Iterator[MemoryCaps | OSError]:
    """Those of this host until the end of the block, or why it has none."""
    with tempfile.TemporaryDirectory(prefix="glowplug-caps-") as folder:
        try:
            groups = open_groups(Path(folder) / "cgroups")
        except OSError as error:
            yield error
            return
        try:
            yield MemoryCaps(groups)
        finally:
            groups.close()
