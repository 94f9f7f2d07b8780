"""Control groups as caps on the workers of a distributed run (`distributed/caps.py`). Of memory alone: where
the processor is short a group weighs by itself, and nice workers starved in groups that weighed as they did.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glowplug.distributed.channels.owners import is_abandoned, owned_folder, remove_abandoned
from glowplug.node.isolation.cgroups import Group, Groups, open_groups, remove_leftovers
from glowplug.node.isolation.limits import Bounds

_NO_OTHERS = 0
_FOLDER = "caps-of-glowplug-"
"""Not as other folders of runs: who removed it with those would not know of the groups that it notes."""
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
    """Those of this host until the end of the block, or why it has none. What runs left whose process was
    killed is removed."""
    for left in abandoned_caps():
        remove_caps(left)
    with owned_folder(_FOLDER) as folder:
        try:
            groups = open_groups(folder / _NOTED, wanted=("memory",))
        except OSError as error:
            yield error
            return
        try:
            yield MemoryCaps(groups)
        finally:
            groups.close()


def abandoned_caps() -> list[Path]:
    """The folders of processes that are dead, which note what groups they had."""
    base = Path(tempfile.gettempdir())
    return [each for kind in ("", ".") for each in base.glob(f"{kind}{_FOLDER}*") if is_abandoned(each)]


def remove_caps(left: Path) -> None:
    """One of these, with its groups."""
    remove_leftovers(left / _NOTED)
    remove_abandoned(left)
