"""Control groups as caps on the workers of a distributed run (`distributed/caps.py`). Of memory alone: where
the processor is short a group weighs by itself, and nice workers starved in groups that weighed as they did.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glowplug.distributed.channels.owners import abandoned_folders, mark_owner
from glowplug.node.isolation.cgroups import Group, Groups, open_groups, remove_leftovers
from glowplug.node.isolation.limits import Bounds

_NO_OTHERS = 0
_FOLDER = "glowplug-caps-"
_NOTED = "cgroups"


class MemoryCaps:
    """`version` is that of the host's control groups."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self.version = groups.version

    def cap(self, name: str, memory_bytes: int) -> Group:
        """Raises OSError."""
        return self._groups.make(name, Bounds(memory_bytes, _NO_OTHERS, _NO_OTHERS))


@contextmanager
def memory_caps() -> Iterator[MemoryCaps | OSError]:
    """Those of this host until the end of the block, or why it has none. Groups of runs whose process was
    killed are removed; its folder is as any other's (`owners.py`)."""
    for left in abandoned_folders(Path(tempfile.gettempdir())):
        if left.name.startswith(_FOLDER):
            remove_leftovers(left / _NOTED)
    with tempfile.TemporaryDirectory(prefix=_FOLDER) as folder:
        mark_owner(Path(folder))
        try:
            groups = open_groups(Path(folder) / _NOTED, wanted=("memory",))
        except OSError as error:
            yield error
            return
        try:
            yield MemoryCaps(groups)
        finally:
            groups.close()
