"""What can go wrong with packs and weights. Every message names the file, the part of it, and what to do.

LoaderError
|- PackCorrupt         the file is not a pack, of another format version, or its bytes are damaged
|  |- PackTruncated    shorter than it says
|- NotRebuildable      the pack is sound, but a class it needs cannot be imported in this process
|- WeightsUnreadable   a weights file that cannot be read, or that no reader may trust
|- WeightsMismatch     a readable weights file that does not fit the module
|- NotPicklable        an object graph that cannot be packed
|- DeviceFull          a reservation that does not fit
"""

from __future__ import annotations


class LoaderError(Exception):
    """Root of the tree."""


class PackCorrupt(LoaderError):
    pass


class PackTruncated(PackCorrupt):
    pass


class NotRebuildable(LoaderError):
    pass


class WeightsUnreadable(LoaderError):
    pass


class WeightsMismatch(LoaderError):
    """`problems` has one line per tensor that is missing, unexpected, or of another shape or dtype."""

    def __init__(self, path: str, problems: list[str]) -> None:
        listed = "\n".join(f"  {line}" for line in problems)
        count = "1 tensor does" if len(problems) == 1 else f"{len(problems)} tensors do"
        super().__init__(f"{path}: {count} not fit the module:\n{listed}")
        self.path = path
        self.problems = problems


class NotPicklable(LoaderError):
    pass


class DeviceFull(LoaderError):
    pass
